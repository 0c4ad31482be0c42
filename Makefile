# mod_bizapi: `make run` tries it, `make test` tests it, `make install` puts it into Apache.
# Everything about Apache comes from apxs, everything about libraries from pkg-config. On a bare
# machine neither is there when make starts, so run and test install first and build in a second make.
#
#   make run [PORT=8081] [MPM=event]     make test [LEVEL="unit http"] [MPM=event]
#   make install [DESTDIR=] [PREFIX=/usr/local]     make uninstall     make lint
#   make asan     make tsan     (the tests under a sanitizer)
#   make valgrind     (the unit tests under it)
#   make fuzz [FUZZ=email] [FUZZ_SECONDS=60]     (looks for new inputs; make test replays the known)
#   make mail-templates     (after a change in conf/mail/src)     make mail-preview     (look at them)
#   make graceful (restarts every 2 s for 2 minutes under load, on each MPM)
#   make leak [REQUESTS=100000]     (growth of a worker's memory a request)
#   make bench [BENCH="login flood"]     (docs/BENCHMARKS.md, or those tables alone; wants the machine for itself for 12 minutes)
#   make bare     (make test in an empty Debian 12, made by debootstrap)

.DELETE_ON_ERROR:
.SUFFIXES:

B      ?= build
PORT   ?= 8081
MPM    ?= event
LEVEL  ?=
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PREFIX ?= /usr/local
DATADIR = $(PREFIX)/share/bizapi
APXS   ?= $(firstword $(wildcard $(foreach d,$(subst :, ,$(PATH)) /usr/sbin /usr/bin,$(d)/apxs $(d)/apxs2)))
PKG_CONFIG ?= pkg-config
LIBS_PC = jansson libcurl libmongoc-1.0 libsodium cjose sqlite3 hiredis icu-i18n icu-uc gmime-3.0 libical openssl \
          libqrencode libfido2 libcbor

# Asked once, and only when something is built.
apxs_q  = $(shell $(APXS) -q $(1) 2>/dev/null)
APR_CFG = $(call apxs_q,APR_CONFIG)
APU_CFG = $(call apxs_q,APU_CONFIG)
# Others' headers are system headers: -Werror is about ours.
system  = $(patsubst -I%,-isystem %,$(filter-out -I/usr/include,$(1)))
INC_APR := $(if $(APXS),$(call system,$(shell $(APR_CFG) --includes --cppflags 2>/dev/null) $(shell $(APU_CFG) --includes 2>/dev/null)))
INC_AP  := $(if $(APXS),$(call system,-I$(call apxs_q,INCLUDEDIR)))
INC_PC  := $(call system,$(shell $(PKG_CONFIG) --cflags $(LIBS_PC) 2>/dev/null))
LD_PC   := $(shell $(PKG_CONFIG) --libs $(LIBS_PC) 2>/dev/null) -lm
LD_APR  := $(if $(APXS),$(shell $(APR_CFG) --link-ld --libs 2>/dev/null) $(shell $(APU_CFG) --link-ld 2>/dev/null))

# V=1 shows the whole commands.
Q   = $(if $(V),,@)
SAY = $(if $(V),@:,@echo "  $@")

WARN   = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 \
         -Werror=format-nonliteral -Wno-unused-parameter
CFLAGS ?= -O2 -g
CFLAGS_ALL = -std=gnu11 -fPIC -fvisibility=hidden -fstack-protector-strong $(WARN) $(if $(WERROR),-Werror) \
             -DBIZ_DATA_DIR='"$(DATADIR)"' $(CFLAGS) -Isrc $(INC_APR) $(INC_PC) -MMD -MP

LIB_SRC := $(sort $(wildcard $(foreach d,core store limit cors net mail audit outbox integrations auth portal admin,src/$(d)/*.c)) $(wildcard src/*.c))
MOD_SRC := mod_bizapi.c $(sort $(wildcard src/httpd/*.c))
CLI_SRC := $(sort $(wildcard src/cli/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
MOD_OBJ := $(MOD_SRC:%.c=$(B)/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(B)/%.o)
TESTS   := $(sort $(foreach d,unit conformance,$(patsubst tests/$(d)/%.c,$(B)/tests/%,$(wildcard tests/$(d)/test_*.c))) \
                  $(patsubst tests/%.c,$(B)/%,$(wildcard tests/fuzz/test_*.c)))

all: $(B)/mod_bizapi.so $(B)/bizapictl

# ---- try, test ----

SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 2))

run:
	@conf/quickstart/deps run
	@$(SUBMAKE) all
	@MPM=$(MPM) APXS=$(APXS) exec conf/quickstart/run "$(PORT)" "$(B)"

test:
	@conf/quickstart/deps test
	@$(SUBMAKE) all tests
	@BIZ_MPM=$(MPM) $(PYTHON) tests/run "$(B)" $(LEVEL)

tests: $(TESTS) $(B)/tests/shim.so

test-%:
	@$(MAKE) --no-print-directory test LEVEL=$*

# A sanitizer's runtime comes into the stock httpd by LD_PRELOAD, and under asan what makes it see
# into pools (tests/lib/pools.c). A report in a program's output or a server's log fails the test.
# Leaks are looked for in our programs alone: tests/run and harness.py turn that on. Two checks stay
# off: an alternate signal stack and the end of a thread by apr_thread_exit() give a false report, and
# so do gcc 12's frames for use after return where a type wants 128 bytes (bson_t).
asan: SAN = address,undefined -fno-sanitize-recover=undefined
asan: POOLS = $(B)/asan/pools
asan: export ASAN_OPTIONS = suppressions=$(CURDIR)/tests/asan.supp:detect_leaks=0:abort_on_error=1:use_sigaltstack=0:quarantine_size_mb=64
asan: export UBSAN_OPTIONS = abort_on_error=1:print_stacktrace=1
asan: export LSAN_OPTIONS = suppressions=$(CURDIR)/tests/lsan.supp:print_suppressions=0
tsan: SAN = thread
tsan: export TSAN_OPTIONS = suppressions=$(CURDIR)/tests/tsan.supp:second_deadlock_stack=1:exitcode=66
asan tsan:
	@conf/quickstart/deps test
	@$(SUBMAKE) B=$(B)/$@ CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN)" \
	    $(if $(POOLS),POOLS=$(POOLS).o) all tests $(addsuffix .so,$(POOLS))
	@BIZ_MPM=$(MPM) BIZ_PRELOAD="$$($(CC) -print-file-name=lib$@.so)$(patsubst %,:%.so,$(abspath $(POOLS)))" \
	    BIZ_CFLAGS="-fno-omit-frame-pointer -fsanitize=$(SAN)" $(PYTHON) tests/run $(B)/$@ $(or $(LEVEL),unit conformance fuzz http)

# A bad read or write, or a block that nobody can release any more, fails the program. One of the
# tests has 500 threads, which is as many as valgrind has by itself.
valgrind:
	@conf/quickstart/deps valgrind
	@$(SUBMAKE) all tests
	@BIZ_WRAP="valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
	    --max-threads=600" $(PYTHON) tests/run "$(B)" $(or $(LEVEL),unit fuzz)

# The same targets as in make test, here with libFuzzer as their main (REPLAY is empty).
FUZZ = $(patsubst tests/fuzz/test_%.c,%,$(sort $(wildcard tests/fuzz/test_*.c)))
FUZZ_SECONDS = 60
fuzz:
	@conf/quickstart/deps fuzz
	@$(SUBMAKE) B=$(B)/fuzzer CC="$(FUZZ_CC)" REPLAY= POOLS=$(B)/fuzzer/pools.o \
	    CFLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" \
	    LDFLAGS="-fsanitize=fuzzer" $(FUZZ:%=$(B)/fuzzer/fuzz/test_%)
	@$(SUBMAKE) all
	@tests/fuzz/hunt $(B)/fuzzer $(FUZZ_SECONDS) $(FUZZ); found=$$?; \
	    $(PYTHON) -W ignore tests/fuzz/api "$(B)" $(FUZZ_SECONDS) && exit $$found
FUZZ_CC = clang

# Figures for docs/BENCHMARKS.md, from programs of their own beside what is measured.
LOADS = limit_loop hash_loop mongo_loop mod_empty.so
bench:
	@conf/quickstart/deps bench
	@$(SUBMAKE) all $(LOADS:%=$(B)/load/%)
	@$(PYTHON) tests/load/bench "$(B)"
graceful:
	@conf/quickstart/deps test
	@$(SUBMAKE) all
	@$(PYTHON) -W ignore tests/load/graceful "$(B)" $(or $(SECONDS),120) $(MPMS)
$(B)/load/%.so: tests/load/%.c
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) $(CFLAGS_ALL) $(INC_AP) -fvisibility=default -shared -o $@ $<
$(B)/load/%: tests/load/%.c $(B)/libbizapi.a
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $< $(B)/libbizapi.a $(LDFLAGS) $(LD_PC) $(LD_APR) -lpthread

# What a worker grows by with each request, over 100 000 of them.
leak:
	@conf/quickstart/deps test
	@$(SUBMAKE) all
	@$(PYTHON) -W ignore tests/load/leak "$(B)" $(REQUESTS)

bare:
	tests/bare

# ---- build ----

$(B)/libbizapi.a: $(LIB_OBJ)
	@rm -f $@
	$(SAY)
	$(Q)ar rcs $@ $(LIB_OBJ)

$(B)/mod_bizapi.so: $(MOD_OBJ) $(B)/libbizapi.a src/exports.map
	$(SAY)
	$(Q)$(CC) $(CFLAGS) -shared -o $@ $(MOD_OBJ) $(B)/libbizapi.a -Wl,--version-script=src/exports.map \
	    -Wl,-z,relro,-z,now $(LDFLAGS) $(LD_PC)

$(B)/bizapictl: $(CLI_OBJ) $(POOLS) $(B)/libbizapi.a
	$(SAY)
	$(Q)$(CC) $(CFLAGS) -o $@ $(CLI_OBJ) $(POOLS) $(B)/libbizapi.a $(LDFLAGS) $(LD_PC) $(LD_APR)

$(B)/src/httpd/%.o: src/httpd/%.c
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) $(CFLAGS_ALL) $(INC_AP) -c -o $@ $<

$(B)/mod_bizapi.o: mod_bizapi.c
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) $(CFLAGS_ALL) $(INC_AP) -c -o $@ $<

$(B)/src/%.o: src/%.c
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

# The assembler reads the list, so that -MMD does not see it.
$(B)/src/core/password_list.o: conf/common-passwords.txt

# A test is one C file; tests/unit/test_x.c becomes build/tests/test_x.
define TEST_RULE
$(B)/tests/test_%: tests/$(1)/test_%.c $(POOLS) $(B)/libbizapi.a
	@mkdir -p $$(@D)
	$$(SAY)
	$$(Q)$$(CC) $$(CFLAGS_ALL) -o $$@ $$< $(POOLS) $(B)/libbizapi.a $$(LDFLAGS) -lcmocka $$(LD_PC) $$(LD_APR) -lpthread
endef
$(foreach d,unit conformance,$(eval $(call TEST_RULE,$(d))))

# A fuzz target has no main of its own; in make test it is the one that replays the corpus.
REPLAY = tests/fuzz/replay.c
$(B)/fuzz/test_%: tests/fuzz/test_%.c $(REPLAY) $(POOLS) $(B)/libbizapi.a
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) $(CFLAGS_ALL) -Itests/fuzz -o $@ $< $(REPLAY) $(POOLS) $(B)/libbizapi.a $(LDFLAGS) \
	    $(if $(REPLAY),-lcmocka) $(LD_PC) $(LD_APR) -lpthread

$(B)/tests/shim.so: tests/lib/shim.c
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) -std=gnu11 $(WARN) -O1 -fPIC -shared -o $@ $<

$(B)/pools.o $(B)/pools.so: tests/lib/pools.c
	@mkdir -p $(@D)
	$(SAY)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $< $(if $(filter %.so,$@),-shared $(LD_APR),-c)

# The compiled-in folder of the mail templates is part of what is built.
$(B)/datadir: FORCE
	@mkdir -p $(@D)
	@echo '$(DATADIR)' | cmp -s - $@ || echo '$(DATADIR)' >$@
$(B)/src/httpd/config.o: $(B)/datadir

# ---- install ----

MODDIR  = $(DESTDIR)$(call apxs_q,LIBEXECDIR)
# Debian's layout has mods-available; elsewhere the two files wait in DATADIR to be included.
DEBIAN  = $(filter apache2,$(call apxs_q,progname))
CONFDIR = $(DESTDIR)$(if $(DEBIAN),$(call apxs_q,SYSCONFDIR)/mods-available,$(DATADIR)/conf)

install: all
	install -d "$(MODDIR)" "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(DATADIR)/mail" "$(CONFDIR)"
	install -m 644 $(B)/mod_bizapi.so "$(MODDIR)/mod_bizapi.so.new"
	mv -f "$(MODDIR)/mod_bizapi.so.new" "$(MODDIR)/mod_bizapi.so"
	install -m 755 $(B)/bizapictl "$(DESTDIR)$(PREFIX)/bin/bizapictl"
	install -m 644 conf/mail/*.* "$(DESTDIR)$(DATADIR)/mail"
	install -m 644 conf/bizapi-ssl-vhost.conf.example conf/env.example conf/quickstart/hard.conf \
	    "$(DESTDIR)$(DATADIR)"
	install -d "$(DESTDIR)$(DATADIR)/fail2ban"
	install -m 644 conf/fail2ban/filter.conf conf/fail2ban/jail.conf "$(DESTDIR)$(DATADIR)/fail2ban"
	sed 's|@MODULES@|$(call apxs_q,LIBEXECDIR)|' conf/bizapi.load >"$(CONFDIR)/bizapi.load"
	@# An edited bizapi.conf stays; the new one lies beside it.
	@sed 's|@DATADIR@|$(DATADIR)|' conf/bizapi.conf >$(B)/bizapi.conf
	@to="$(CONFDIR)/bizapi.conf"; if [ -e "$$to" ] && ! cmp -s $(B)/bizapi.conf "$$to"; then \
	     to="$$to.dist"; echo "Your bizapi.conf stays as it is; the new one is $$to"; fi; \
	 install -m 644 $(B)/bizapi.conf "$$to"
	@$(if $(DEBIAN),echo "Now: a2enmod bizapi && apachectl configtest && apachectl graceful",\
	    echo "Now include $(CONFDIR)/bizapi.load and bizapi.conf in httpd.conf; then: apachectl graceful")

uninstall:
	@[ -n "$(DESTDIR)" ] || [ ! -e "$(CONFDIR)/../mods-enabled/bizapi.load" ] || \
	    { echo "It is enabled: a2dismod bizapi && apachectl graceful; then again."; exit 1; }
	rm -f "$(MODDIR)/mod_bizapi.so" "$(DESTDIR)$(PREFIX)/bin/bizapictl" "$(CONFDIR)/bizapi.load" \
	    "$(CONFDIR)/bizapi.conf.dist"
	rm -rf "$(DESTDIR)$(DATADIR)/mail" "$(DESTDIR)$(DATADIR)/fail2ban"
	cd "$(DESTDIR)$(DATADIR)" && rm -f bizapi-ssl-vhost.conf.example env.example hard.conf
	@rmdir "$(DESTDIR)$(DATADIR)" 2>/dev/null || :
	@echo "Left in place: $(CONFDIR)/bizapi.conf, keys and database in the state directory."

# ---- check the sources ----

C_FILES = mod_bizapi.c $(wildcard src/*.[ch] src/*/*.[ch] tests/*/*.[ch])
SHELL_FILES = $(shell grep -lE '^\#!/bin/(ba)?sh' .ci/* conf/quickstart/* tests/* tests/*/* 2>/dev/null)
# What make test asks too (tests/lint/test_tools.py), and a whole build by clang, whose warnings
# clang-tidy has.
lint:
	@conf/quickstart/deps lint
	@$(SUBMAKE) B=build/lint/gcc CC=gcc WERROR=1 all tests
	@$(SUBMAKE) B=build/lint/clang CC=clang WERROR=1 all tests
	@$(SUBMAKE) B=build/lint/gcc CC=gcc WERROR=1 check-format check-shell check-cppcheck check-tidy

check-format:
	$(SAY)
	$(Q)clang-format --dry-run -Werror $(wildcard $(C_FILES))

check-shell:
	$(SAY)
	$(Q)shellcheck $(SHELL_FILES)

check-cppcheck:
	$(SAY)
	@mkdir -p $(B)/cppcheck
	$(Q)cppcheck -q --error-exitcode=1 --enable=warning,portability --inline-suppr \
	    --suppressions-list=tests/cppcheck.supp --cppcheck-build-dir=$(B)/cppcheck -Isrc mod_bizapi.c src

# A file that has passed is looked at again when it was compiled again. Of tests only the warnings count.
TIDY_TESTS = --checks='-*,clang-diagnostic-*,bugprone-suspicious-semicolon'
# On its standard error it counts what it does not show.
TIDY = mkdir -p $(@D) && clang-tidy --quiet $(1) $(2) -- $(filter-out -MMD -MP,$(CFLAGS_ALL)) $(INC_AP) $(3) \
           2>$@.err && touch $@ || { grep -v 'warnings\? generated' $@.err; exit 1; }
check-tidy: $(patsubst %.o,%.tidy,$(LIB_OBJ) $(MOD_OBJ) $(CLI_OBJ)) $(addsuffix .tidy,$(TESTS))
$(B)/%.tidy: $(B)/%.o .clang-tidy
	$(SAY)
	$(Q)$(call TIDY,,$*.c,)
$(addsuffix .tidy,$(TESTS)): $(B)/%.tidy: $(B)/% .clang-tidy
	$(SAY)
	$(Q)$(call TIDY,$(TIDY_TESTS),$(wildcard $(patsubst %,tests/%/$(@F:.tidy=.c),unit conformance fuzz)),-Itests/fuzz)

# conf/mail/*.html from the MJML of conf/mail/src; needs npm, which no server does.
mail-templates: $(B)/mjml/node_modules/.package-lock.json
	NODE_PATH=$(B)/mjml/node_modules node conf/mail/src/compile.js

$(B)/mjml/node_modules/.package-lock.json: conf/mail/src/package-lock.json
	@mkdir -p $(B)/mjml
	cp conf/mail/src/package.json conf/mail/src/package-lock.json $(B)/mjml
	npm ci --prefix $(B)/mjml --no-audit --no-fund
	@touch $@

# A picture of every mail, narrow and wide, light and dark, on one page to leaf through.
mail-preview: $(B)/bizapictl
	@conf/quickstart/deps test
	@$(PYTHON) tests/run --venv
	build/venv/bin/python tests/lib/mail_preview.py $(B)

# The README's table of routes, from src/routes.c.
docs:
	$(PYTHON) tests/guards/readme.py

clean:
	rm -rf $(B)

FORCE:
.PHONY: all run test tests asan tsan valgrind fuzz bench graceful leak bare install uninstall lint check-format check-shell \
        check-cppcheck check-tidy mail-templates mail-preview docs clean FORCE
-include $(shell find $(B) -name '*.d' 2>/dev/null)
