# mod_bizapi: `make run` tries it, `make test` tests it, `make install` puts it into Apache.
# Everything about Apache comes from apxs, everything about libraries from pkg-config.

.DELETE_ON_ERROR:
.SUFFIXES:

B      ?= build
APXS   ?= $(firstword $(wildcard $(foreach d,$(subst :, ,$(PATH)) /usr/sbin /usr/bin,$(d)/apxs $(d)/apxs2)))
PC     ?= pkg-config
LIBS_PC = jansson libcurl libmongoc-1.0 libsodium cjose sqlite3 hiredis icu-i18n icu-uc gmime-3.0 openssl

# Asked once, and only when something is built.
apxs_q  = $(shell $(APXS) -q $(1) 2>/dev/null)
APR_CFG = $(call apxs_q,APR_CONFIG)
APU_CFG = $(call apxs_q,APU_CONFIG)
INC_APR := $(if $(APXS),$(shell $(APR_CFG) --includes --cppflags 2>/dev/null) $(shell $(APU_CFG) --includes 2>/dev/null))
INC_AP  := $(if $(APXS),-I$(call apxs_q,INCLUDEDIR))
INC_PC  := $(shell $(PC) --cflags $(LIBS_PC) 2>/dev/null)
LD_PC   := $(shell $(PC) --libs $(LIBS_PC) 2>/dev/null)
LD_APR  := $(if $(APXS),$(shell $(APR_CFG) --link-ld --libs 2>/dev/null) $(shell $(APU_CFG) --link-ld 2>/dev/null))

WARN   = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 \
         -Werror=format-nonliteral -Wno-unused-parameter
CFLAGS ?= -O2 -g
CFLAGS_ALL = -std=gnu11 -fPIC -fvisibility=hidden -fstack-protector-strong $(WARN) $(if $(WERROR),-Werror) \
             $(CFLAGS) -Isrc $(INC_APR) $(INC_PC) -MMD -MP

LIB_SRC := $(sort $(wildcard $(foreach d,core store limit cors net mail outbox integrations auth portal admin,src/$(d)/*.c)) $(wildcard src/*.c))
MOD_SRC := mod_bizapi.c $(sort $(wildcard src/httpd/*.c))
CLI_SRC := $(sort $(wildcard src/cli/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(B)/%.o)
MOD_OBJ := $(MOD_SRC:%.c=$(B)/%.o)
CLI_OBJ := $(CLI_SRC:%.c=$(B)/%.o)
UNIT    := $(patsubst tests/unit/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
CONF    := $(patsubst tests/conformance/%.c,$(B)/tests/%,$(sort $(wildcard tests/conformance/test_*.c)))

all: $(B)/mod_bizapi.so $(B)/bizapictl

$(B)/libbizapi.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $(LIB_OBJ)

$(B)/mod_bizapi.so: $(MOD_OBJ) $(B)/libbizapi.a src/exports.map
	$(CC) $(CFLAGS) -shared -o $@ $(MOD_OBJ) $(B)/libbizapi.a -Wl,--version-script=src/exports.map \
	    -Wl,-z,relro,-z,now $(LDFLAGS) $(LD_PC)

$(B)/bizapictl: $(CLI_OBJ) $(B)/libbizapi.a
	$(CC) $(CFLAGS) -o $@ $(CLI_OBJ) $(B)/libbizapi.a $(LDFLAGS) $(LD_PC) $(LD_APR)

$(B)/src/httpd/%.o: src/httpd/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(INC_AP) -c -o $@ $<

$(B)/mod_bizapi.o: mod_bizapi.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(INC_AP) -c -o $@ $<

$(B)/src/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

# The assembler reads the list, so that -MMD does not see it.
$(B)/src/core/password_list.o: conf/common-passwords.txt

# A test is one C file; tests/unit/test_x.c becomes build/tests/test_x.
$(B)/tests/test_%: tests/unit/test_%.c $(B)/libbizapi.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -o $@ $< $(B)/libbizapi.a $(LDFLAGS) -lcmocka $(LD_PC) $(LD_APR) -lpthread

$(B)/tests/test_%: tests/conformance/test_%.c $(B)/libbizapi.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -o $@ $< $(B)/libbizapi.a $(LDFLAGS) -lcmocka $(LD_PC) $(LD_APR) -lpthread

clean:
	rm -rf $(B)

.PHONY: all clean
-include $(shell find $(B) -name '*.d' 2>/dev/null)
