# SPDX-License-Identifier: GPL-2.0-or-later
# nfq-balancer. `make help` lists the targets.
.DEFAULT_GOAL := all

VERSION := 0.1.0
CC ?= cc
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
SBINDIR ?= $(PREFIX)/sbin
LIBDIR ?= $(PREFIX)/lib/nfq-balancer
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/nfq-balancer
UNITDIR ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
B ?= build

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wvla -Wswitch-enum -Wdouble-promotion
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -fno-strict-aliasing
# make SANITIZE=address,undefined B=build/asan ...
ifdef SANITIZE
HARDEN := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -fPIE
endif
ifdef WERROR
WARN += -Werror
endif
PKG_CONFIG ?= pkg-config
NET_PKGS := libnetfilter_queue libnetfilter_conntrack libmnl libevent jansson liburcu-qsbr libcap-ng
ALL_CPPFLAGS = -D_GNU_SOURCE -DNFQB_VERSION='"$(VERSION)"' -I. $(CPPFLAGS)
ALL_CFLAGS = -std=c11 -pthread $(WARN) $(HARDEN) $(CFLAGS) -MMD -MP
ALL_LDFLAGS = -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -pie -Wl,-z,relro,-z,now $(LDFLAGS)
NET_LIBS = $(shell $(PKG_CONFIG) --libs $(NET_PKGS))
CONF_LIBS = $(shell $(PKG_CONFIG) --libs libconfuse)

obj = $(patsubst %.c,$(B)/%.o,$(1))

# policy/ is two archives: the pure decision path, and what reads and prints files
CONFIG_SRC := $(wildcard policy/config_*.c)
POLICY_SRC := $(filter-out $(CONFIG_SRC),$(wildcard policy/*.c))
CONNTRACK_SRC := $(wildcard conntrack/*.c)
CLIENT_SRC := $(wildcard nfq-balancer/nfqbctl*.c)
DAEMON_SRC := $(filter-out $(CLIENT_SRC),$(wildcard nfq-balancer/*.c))
REPLAY_SRC := $(wildcard bench/replay*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
TOOL_SRC := $(wildcard tests/tools/*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)

LIBPOLICY := $(B)/libpolicy.a
LIBCONFIG := $(B)/libconfig.a
LIBCONNTRACK := $(B)/libconntrack.a
DAEMON := $(B)/nfq-balancer/nfq-balancer
CLIENT := $(B)/nfq-balancer/nfqbctl
REPLAY := $(B)/bench/replay
UNITS := $(patsubst %.c,$(B)/%,$(UNIT_SRC))
TOOLS := $(patsubst %.c,$(B)/%,$(TOOL_SRC))

all: $(DAEMON) $(CLIENT) $(REPLAY) ## build the daemon, the client and the replay harness
tools: $(TOOLS) ## build the tests' own traffic tools
units: $(UNITS) ## build the unit tests

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -c -o $@ $<

$(LIBPOLICY): $(call obj,$(POLICY_SRC))
$(LIBCONFIG): $(call obj,$(CONFIG_SRC))
$(LIBCONNTRACK): $(call obj,$(CONNTRACK_SRC))
%.a:
	@rm -f $@
	$(AR) rcs $@ $^

$(DAEMON): $(call obj,$(DAEMON_SRC)) $(LIBCONNTRACK) $(LIBCONFIG) $(LIBPOLICY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(NET_LIBS) $(CONF_LIBS)

$(CLIENT): $(call obj,$(CLIENT_SRC))
	$(CC) $(ALL_LDFLAGS) -o $@ $^

# no netfilter library here: that it links is the proof that the decision path is pure
$(REPLAY): $(call obj,$(REPLAY_SRC)) $(LIBCONFIG) $(LIBPOLICY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CONF_LIBS) -lpcap

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(LIBCONFIG) $(LIBPOLICY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CONF_LIBS) -lcmocka -lm

$(B)/tests/tools/%: $(B)/tests/tools/%.o
	$(CC) $(ALL_LDFLAGS) -o $@ $^

clean: ## remove what was built
	rm -rf $(B)

help: ## this list
	@sed -n 's/^\([a-z_.-]*\):.*## /\1\t/p' Makefile | expand -t 24

.PHONY: all tools units clean help
.PRECIOUS: $(B)/%.o
-include $(shell find $(B) -name '*.d' 2>/dev/null)
