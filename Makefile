# SPDX-License-Identifier: GPL-2.0-or-later
# nfq-balancer. `make help` lists the targets.
.DEFAULT_GOAL := all

VERSION := 0.1.0
CC ?= cc
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
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
# liburcu's few instructions without a call (allowed, as our licence is compatible with the LGPL); the sanitizers shall not look at them
URCU_INLINE := -D_LGPL_SOURCE
# make SANITIZE=address,undefined B=build/asan ...
ifdef SANITIZE
HARDEN := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer -fPIE
URCU_INLINE :=
endif
ifdef LIBFUZZER
HARDEN += -fsanitize=fuzzer-no-link
endif
ifdef WERROR
WARN += -Werror
endif
PKG_CONFIG ?= pkg-config
NET_PKGS := libnetfilter_queue libnetfilter_conntrack libmnl libevent jansson liburcu-qsbr libcap-ng
CONF_PKGS := libconfuse
REPLAY_PKGS := libpcap jansson
ALL_CPPFLAGS = -D_GNU_SOURCE -DNFQB_VERSION='"$(VERSION)"' $(URCU_INLINE) -I. $(CPPFLAGS)
ALL_CFLAGS = -std=c11 -pthread $(WARN) $(HARDEN) $(CFLAGS) -MMD -MP
ALL_LDFLAGS = -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) -pie -Wl,-z,relro,-z,now $(LDFLAGS)
NET_LIBS = $(shell $(PKG_CONFIG) --libs $(NET_PKGS))
CONF_LIBS = $(shell $(PKG_CONFIG) --libs $(CONF_PKGS))
REPLAY_LIBS = $(shell $(PKG_CONFIG) --libs $(REPLAY_PKGS))

obj = $(patsubst %.c,$(B)/%.o,$(1))

# policy/ is two archives: the pure decision path, and what reads and prints files
CONFIG_SRC := $(wildcard policy/config_*.c)
POLICY_SRC := $(filter-out $(CONFIG_SRC),$(wildcard policy/*.c))
CONNTRACK_SRC := $(wildcard conntrack/*.c)
CLIENT_SRC := $(wildcard nfq-balancer/nfqbctl*.c)
DAEMON_SRC := $(filter-out $(CLIENT_SRC),$(wildcard nfq-balancer/*.c))
REPLAY_SRC := $(wildcard bench/replay*.c bench/sim*.c)
COST_SRC := $(wildcard bench/cost*.c)
LIVE_SRC := bench/bare.c $(wildcard bench/live_*.c)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
TOOL_SRC := $(wildcard tests/tools/*.c)
FUZZ_SRC := $(wildcard tests/fuzz/fuzz_*.c)
# what feeds files to the fuzzers where there is no libFuzzer
FUZZ_MAIN := $(filter-out $(FUZZ_SRC),$(wildcard tests/fuzz/*.c))
ALL_SRC := $(CONFIG_SRC) $(POLICY_SRC) $(CONNTRACK_SRC) $(CLIENT_SRC) $(DAEMON_SRC) $(REPLAY_SRC) $(COST_SRC) $(LIVE_SRC) $(UNIT_SRC) $(TOOL_SRC) $(FUZZ_SRC) $(FUZZ_MAIN)

LIBPOLICY := $(B)/libpolicy.a
LIBCONFIG := $(B)/libconfig.a
LIBCONNTRACK := $(B)/libconntrack.a
DAEMON := $(B)/nfq-balancer/nfq-balancer
CLIENT := $(B)/nfq-balancer/nfqbctl
REPLAY := $(B)/bench/replay
COST := $(B)/bench/cost
LIVE := $(patsubst %.c,$(B)/%,$(LIVE_SRC))
UNITS := $(patsubst %.c,$(B)/%,$(UNIT_SRC))
TOOLS := $(patsubst %.c,$(B)/%,$(TOOL_SRC))
FUZZERS := $(patsubst %.c,$(B)/%,$(FUZZ_SRC))

all: $(DAEMON) $(CLIENT) $(REPLAY) $(COST) ## build the daemon, the client and the benches of the decision
replay: $(REPLAY) ## build the replay harness alone (needs no netfilter library)
cost: $(COST) ## build the bench of decisions in the pure core (needs no library)
tools: $(TOOLS) $(LIVE) ## build the traffic tools of the tests and of bench/live
units: $(UNITS) ## build the unit tests
fuzzers: $(FUZZERS) ## build the fuzzers to replay their corpora (CC=clang LIBFUZZER=1: to search)

# one clear line, before the compiler's many, when a library is missing that the goals need
NEEDED := $(if $(filter-out replay cost,$(or $(MAKECMDGOALS),all)),$(NET_PKGS)) $(if $(filter-out cost,$(or $(MAKECMDGOALS),all)),$(CONF_PKGS) $(REPLAY_PKGS))
LIBRARIES := $(B)/libraries-found-$(words $(NEEDED))
$(LIBRARIES): Makefile
	@mkdir -p $(@D)
	@[ -z "$(strip $(NEEDED))" ] || command -v $(PKG_CONFIG) >/dev/null || { echo "missing: $(PKG_CONFIG); scripts/install-deps --build installs what the build needs" >&2; exit 1; }
	@missing=; for p in $(NEEDED); do $(PKG_CONFIG) --exists $$p || missing="$$missing $$p"; done; \
	[ -z "$$missing" ] || { echo "missing:$$missing; scripts/install-deps --build installs what the build needs" >&2; exit 1; }
	@touch $@

# Everything is made anew with another version, compiler or flag, which no file's time tells; but
# `make install` after `make CFLAGS=...` installs what was built
BUILT_WITH := $(B)/built-with
$(BUILT_WITH): export TEXT = $(filter-out -Werror,$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS))
$(BUILT_WITH): $(if $(filter-out install uninstall,$(or $(MAKECMDGOALS),all)),always,Makefile)
	@mkdir -p $(@D)
	@echo "$$TEXT" | cmp -s - $@ || echo "$$TEXT" >$@

$(B)/%.o: %.c $(BUILT_WITH) | $(LIBRARIES)
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
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CONF_LIBS) $(REPLAY_LIBS) -lm

$(COST): $(call obj,$(COST_SRC)) $(LIBPOLICY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^

$(B)/bench/live_%: $(B)/bench/live_%.o
	$(CC) $(ALL_LDFLAGS) -o $@ $^

$(B)/bench/bare: $(B)/bench/bare.o
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs libnetfilter_queue libmnl)

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(LIBCONFIG) $(LIBPOLICY)
	$(CC) $(ALL_LDFLAGS) -o $@ $^ $(CONF_LIBS) $(UNIT_LIBS) -lcmocka -lm
$(B)/tests/unit/test_conntrack%: UNIT_LIBS = $(NET_LIBS)

$(B)/tests/tools/%: $(B)/tests/tools/%.o
	$(CC) $(ALL_LDFLAGS) -o $@ $^

$(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(if $(LIBFUZZER),,$(call obj,$(FUZZ_MAIN))) $(LIBCONFIG) $(LIBPOLICY)
	$(CC) $(ALL_LDFLAGS) $(if $(LIBFUZZER),-fsanitize=fuzzer) -o $@ $^ $(CONF_LIBS) -lm

# what `make install` puts where, as mode:source:target; `make uninstall` reads the same list
INSTALL = 755:$(DAEMON):$(SBINDIR)/nfq-balancer 755:$(CLIENT):$(SBINDIR)/nfqbctl 755:$(REPLAY):$(BINDIR)/nfqb-replay \
	755:$(B)/scripts/nfq-balancer-rules:$(SBINDIR)/nfq-balancer-rules \
	$(foreach f,$(wildcard scripts/rules/*.sh),644:$(f):$(LIBDIR)/rules/$(notdir $(f))) \
	$(foreach f,$(wildcard man/*.[158]),644:$(f):$(MANDIR)/man$(subst .,,$(suffix $(f)))/$(notdir $(f))) \
	$(foreach f,$(wildcard systemd/*.service),644:$(B)/$(f):$(UNITDIR)/$(notdir $(f))) \
	644:systemd/sysusers.d/nfq-balancer.conf:$(SYSUSERSDIR)/nfq-balancer.conf \
	$(foreach f,$(wildcard scripts/examples/*),644:$(f):$(DOCDIR)/examples/$(notdir $(f))) \
	$(foreach f,README.md CHANGELOG.md COPYING,644:$(f):$(DOCDIR)/$(f))
UNITS_OF_SYSTEMD := $(patsubst %,$(B)/%,$(wildcard systemd/*.service))

# always made: another PREFIX means another unit and script, which no file's time tells
$(B)/systemd/%.service: systemd/%.service always
	@mkdir -p $(@D)
	sed 's|/usr/sbin/|$(SBINDIR)/|g' $< >$@

$(B)/scripts/nfq-balancer-rules: scripts/nfq-balancer-rules always
	@mkdir -p $(@D)
	sed 's|^libdir=.*|libdir=$(LIBDIR)|' $< >$@

install: all $(UNITS_OF_SYSTEMD) $(B)/scripts/nfq-balancer-rules ## install under PREFIX (DESTDIR is honoured)
	@for entry in $(INSTALL); do \
		mode=$${entry%%:*}; source=$${entry#*:}; target=$${source#*:}; source=$${source%%:*}; \
		echo "install $$target"; install -D -m $$mode "$$source" "$(DESTDIR)$$target" || exit 1; \
	done

uninstall: ## remove exactly what install puts there; configuration and state stay
	@for entry in $(INSTALL); do rm -f "$(DESTDIR)$${entry##*:}"; done
	@for dir in $(LIBDIR)/rules $(LIBDIR) $(DOCDIR)/examples $(DOCDIR); do \
		[ ! -d "$(DESTDIR)$$dir" ] || rmdir --ignore-fail-on-non-empty "$(DESTDIR)$$dir"; \
	done

compile_commands.json: Makefile $(ALL_SRC) ## what clang-tidy and editors want to know
	@{ echo '['; separator=; for source in $(ALL_SRC); do \
		printf '%s{ "directory": "%s", "file": "%s", "arguments": ["cc", "-std=c11", "-D_GNU_SOURCE", "-DNFQB_VERSION=\\"%s\\"", "-I.", "-Wall", "-Wextra", "-c", "%s"] }' \
			"$$separator" "$(CURDIR)" "$$source" "$(VERSION)" "$$source"; separator=",$$(printf '\nx')"; separator="$${separator%x}"; \
	done; echo; echo ']'; } >$@

format: ## clang-format on every C file, in place
	clang-format -i $$(find policy conntrack nfq-balancer bench tests -name '*.[ch]')

tidy: compile_commands.json ## clang-tidy on every C file; any finding fails
	printf '%s\n' $(ALL_SRC) | xargs -P "$$(nproc)" -n 1 clang-tidy -p . --quiet --warnings-as-errors='*'

check: ## install what is missing, build, run every test
	scripts/check

check-vm: ## the system tests on Debian's own kernel, in a virtual machine (KERNEL= MODULES=: on another)
	KERNEL="$(KERNEL)" MODULES="$(MODULES)" NFQB_BUILD="$(B)" tests/vm/run

shell-vm: ## a shell in that virtual machine, in the router of a lab
	KERNEL="$(KERNEL)" MODULES="$(MODULES)" NFQB_BUILD="$(B)" tests/vm/run --shell

bench-cost: $(COST) ## what a decision costs, over rules, links and sticky entries; plot in docs/cost.png (20 seconds)
	$(COST) --json >$(B)/cost.jsonl
	bench/plot-cost $(B)/cost.jsonl docs/cost.png

bench-live: ## the contest on live load: install what is missing, build, a quarter of an hour (LIVE_OPTIONS="--rounds 9 --json FILE")
	scripts/install-deps --build --bench
	$(MAKE) B="$(B)" all tools
	NFQB_BUILD="$(B)" bench/live $(LIVE_OPTIONS)

bench-quick: ## under two minutes: against the ceiling and the kernel's own way; fails when something got much slower
	scripts/install-deps --build --bench
	$(MAKE) B="$(B)" all tools
	NFQB_BUILD="$(B)" bench/live --quick $(LIVE_OPTIONS)

demo: ## install what is missing, build, show the job on real traffic
	scripts/demo

clean: ## remove what was built
	rm -rf $(B) compile_commands.json

help: ## this list
	@sed -n 's/^\([a-z_.-]*\):.*## /\1\t/p' Makefile | expand -t 24

.PHONY: all always replay cost bench-cost bench-live bench-quick tools units fuzzers install uninstall format tidy check check-vm shell-vm demo clean help
always:

.PRECIOUS: $(B)/%.o
-include $(patsubst %.c,$(B)/%.d,$(ALL_SRC))
