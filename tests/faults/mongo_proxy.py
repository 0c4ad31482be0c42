"""A TCP proxy before a MongoDB that does what a network does: cut, swallow, delay, lose an answer.

    with Proxy(mongo.port) as proxy:
        uri = mongo.uri_at(proxy.port)
        proxy.once("lose", ["insert"])     # the server does it, its answer never arrives
        proxy.once("half", ["find"])       # half of the answer, then the end of the connection
        proxy.once("stall", ["find"])      # half of the answer, and then nothing
        proxy.once("garbage", ["find"])    # an answer that is not of this protocol
        proxy.once("cut", ["insert"])      # the connection ends before the server sees the command
        proxy.strike(3, kill)              # at the third write of a document: kill(), and it is not done
    proxy.black_hole(); proxy.heal()   # connections stay, nothing passes, new ones hang too
        proxy.refuse(); proxy.heal()       # connections end, new ones are refused
        proxy.delay(0.2)                   # each answer comes so much later

It knows the wire protocol just so far as to tell which command a message is (the first key of the
first section of an OP_MSG) and which answer belongs to it. Heartbeats pass all rules of once().
"""
import asyncio
import struct
import threading

OP_MSG = 2013
WRITES = ("insert", "update", "findAndModify", "delete")
HEARTBEATS = ("", "hello", "isMaster", "ismaster")
BEHIND_FLAGS = 16 + 4 + 1  # header, flags, kind of the section; then the document


def command_of(message):
    length, _, _, opcode = struct.unpack_from("<iiii", message)
    name_at = BEHIND_FLAGS + 4 + 1
    if opcode != OP_MSG or length < name_at + 2 or message[BEHIND_FLAGS - 1] != 0:
        return ""
    end = message.find(b"\0", name_at)
    return message[name_at:end].decode("ascii", "replace") if end > 0 else ""


def collection_of(message):
    """What the command is about, "" where that is no text."""
    name_at = BEHIND_FLAGS + 4 + 1
    end = message.find(b"\0", name_at) + 1
    if message[name_at - 1] != 2:
        return ""
    length = struct.unpack_from("<i", message, end)[0]
    return message[end + 4:end + 3 + length].decode("ascii", "replace")


class Proxy:
    def __init__(self, target):
        self.target = target
        self.port = None
        self.rules = []    # [action, commands, times left]
        self.hits = []     # (action, command), as they were applied
        self.steps = [0, None, ()]  # writes left until it is called, where
        self.seconds = 0.0
        self.open = None   # asyncio.Event: messages may pass
        self.pairs = set()
        self.mute = False  # nothing is passed on, in either way
        self.waiting = {}  # of each connection, the commands without an answer
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.server = None

    # ---- for tests, from their thread ----

    def __enter__(self):
        self.thread.start()
        self.run(self.listen())
        return self

    def __exit__(self, *_):
        self.run(self.shut())
        self.run(self.finish())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    def once(self, action, commands, times=1):
        self.run(self.add([action, list(commands), times]))

    def strike(self, number, act, collections):
        """At the number-th write to one of these: act(), and the write is not passed on. 0: no more.
        """
        self.steps = [number, act, collections]

    def black_hole(self):
        self.run(self.swallow())

    def refuse(self):
        self.run(self.shut())

    def cut(self):
        """All connections end, after the server has done what it was sent; new ones are welcome.

        A mongod holds back the second try of a write while the first one runs. The server of the
        tests does not, and would do it twice: so no try may be under way when the second comes.
        """
        self.run(self.settle())

    def delay(self, seconds):
        self.seconds = seconds

    def heal(self):
        self.run(self.mend())

    # ---- in the loop's thread ----

    async def listen(self):
        self.open = self.open or asyncio.Event()
        self.open.set()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port or 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def shut(self):
        if self.server is not None:
            self.server.close()
            self.server = None
        await self.close_all()

    async def settle(self):
        self.mute = True
        end = self.loop.time() + 1
        while any(self.waiting.values()) and self.loop.time() < end:
            await asyncio.sleep(0.005)
        await self.close_all()
        self.mute = False

    async def finish(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close_all(self):
        for pair in list(self.pairs):
            for writer in pair:
                writer.transport.abort()
        self.pairs.clear()

    async def swallow(self):
        self.open.clear()

    async def mend(self):
        self.rules.clear()
        self.seconds = 0.0
        if not self.open.is_set():
            # What a partition has held back does not arrive when it ends: peers have given up.
            await self.close_all()
            self.open.set()
        if self.server is None:
            await self.listen()

    async def add(self, rule):
        self.rules.append(rule)

    def rule_for(self, command, actions):
        for rule in self.rules:
            if rule[2] > 0 and rule[0] in actions and command in rule[1]:
                rule[2] -= 1
                self.hits.append((rule[0], command))
                return rule[0]
        return None

    def is_struck(self, command, message):
        if command not in WRITES or self.steps[0] < 1 or collection_of(
                message) not in self.steps[2]:
            return False
        self.steps[0] -= 1
        if self.steps[0] == 0:
            self.steps[1]()
        return self.steps[0] == 0

    async def serve(self, from_client, to_client):
        to_server, commands, ways = None, {}, []
        try:
            await self.open.wait()
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
            self.pairs.add((to_client, to_server))
            self.waiting[to_client] = commands
            ways = [asyncio.ensure_future(way) for way in (
                self.requests(from_client, to_server, commands),
                self.answers(from_server, to_client, commands))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.pairs.discard((to_client, to_server))
            self.waiting.pop(to_client, None)
            for writer in filter(None, (to_client, to_server)):
                writer.transport.abort()

    async def message(self, reader):
        head = await reader.readexactly(16)
        length = struct.unpack_from("<i", head)[0]
        message = head + await reader.readexactly(length - 16)
        await self.open.wait()
        return message

    async def requests(self, reader, writer, commands):
        while True:
            message = await self.message(reader)
            command = command_of(message)
            if self.mute:
                continue
            if command not in HEARTBEATS:
                commands[struct.unpack_from("<i", message, 4)[0]] = command
            if self.rule_for(command, ["cut"]) or self.is_struck(command, message):
                return
            writer.write(message)
            await writer.drain()

    async def answers(self, reader, writer, commands):
        while True:
            message = await self.message(reader)
            command = commands.pop(struct.unpack_from("<i", message, 8)[0], "")
            if self.mute:
                continue
            if self.seconds and command:
                await asyncio.sleep(self.seconds)
            action = self.rule_for(command, ["lose", "half", "stall", "garbage"])
            if action == "lose":
                return
            if action in ("half", "stall"):
                writer.write(message[:len(message) // 2])
                await writer.drain()
                await asyncio.sleep(60 if action == "stall" else 0)
                return
            if action == "garbage":
                # Nonsense inside a well-formed frame is another thing: libmongoc 1.23 trusts its
                # server there, and TLS is what keeps others from speaking in its name.
                message = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
            writer.write(message)
            await writer.drain()
