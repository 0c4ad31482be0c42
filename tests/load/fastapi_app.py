"""The stand-in of an owner's present kind of stack: FastAPI behind two uvicorn workers, CORS, and a
limiter in the process. BENCH_LIMITER says how it is written: "http" as @app.middleware("http"), as
most do it; "asgi" as a plain ASGI middleware, the fastest form there is."""
import os
import time

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

app = FastAPI()
STATUS = {"success": True, "data": {"services": {name: {
    "configured": False, "status": "unconfigured", "fallback": "none"} for name in (
        "stripe", "twilio", "sendgrid", "google_maps", "openweather", "elevenlabs", "firebase")},
    "summary": {"configured": 0, "total": 7}}}
REFUSAL = {"success": False, "error": {"code": "RATE_LIMITED", "message":
                                       "Too many requests. Please try again later."}}
LIMITS = {"/limited": 60, "/api/v1/integrations/status": 100000}
seen = {}


def allowed(path, address):
    limit = LIMITS.get(path)
    if limit is None:
        return True
    now = time.monotonic()
    times = seen.setdefault((path, address), [])
    while times and times[0] <= now - 60:
        times.pop(0)
    if len(times) >= limit:
        return False
    times.append(now)
    return True


class Limiter:
    def __init__(self, inner):
        self.inner = inner

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            address = headers.get(b"x-forwarded-for", b"").decode()
            if not allowed(scope["path"], address):
                await JSONResponse(REFUSAL, 429, {"Retry-After": "60"})(scope, receive, send)
                return
        await self.inner(scope, receive, send)


if os.environ.get("BENCH_LIMITER") == "asgi":
    app.add_middleware(Limiter)
else:
    @app.middleware("http")
    async def limit(request: Request, call_next):
        if not allowed(request.url.path, request.headers.get("x-forwarded-for", "")):
            return JSONResponse(REFUSAL, 429, {"Retry-After": "60"})
        return await call_next(request)

app.add_middleware(CORSMiddleware, allow_origins=["http://localhost:8081"], allow_credentials=True,
                   allow_methods=["*"], allow_headers=["*"])


@app.get("/api/v1/integrations/status")
async def status():
    return STATUS


@app.get("/limited")
async def limited():
    return STATUS
