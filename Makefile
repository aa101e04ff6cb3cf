# Makefile - builds, tests and installs Troupe. `make help` lists the targets.
# SPDX-License-Identifier: Apache-2.0

VERSION := 0.1.0
SONAME := libtroupe.so.0
PREFIX ?= /usr/local
WERROR ?= -Werror
SANITIZE ?=
BUILD ?= build$(if $(SANITIZE),-$(SANITIZE))
JOBS ?= $(shell nproc)
MAKEFLAGS += --no-builtin-rules --no-print-directory $(if $(filter 0,$(MAKELEVEL)),-j$(JOBS))

# The one list of what is needed from the system; `make deps` installs what is missing.
PACKAGES := gcc g++ make pkg-config python3 clang clang-format libclang-rt-dev \
            libev-dev \
            liblmdb-dev \
            libmsgpack-dev \
            libzmq3-dev \
            libcmocka-dev \
            libxxhash-dev \
            libyaml-dev \
            libzstd-dev \
            procps shellcheck \
            spin \
            python3-zmq python3-msgpack

MSGPACK := $(shell pkg-config --exists msgpack-c 2>/dev/null && echo msgpack-c || echo msgpack)
PKGS := lmdb $(MSGPACK) libzmq libxxhash libzstd
FLAGS := -std=c11 -D_GNU_SOURCE -fPIC -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
         -Wno-missing-field-initializers $(WERROR) -I. \
         $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all) \
         $(shell pkg-config --cflags $(PKGS) 2>/dev/null) -MMD -MP
CFLAGS ?= -O2 -g
# What is done is said in a short line, with V=1 in full.
Q := $(if $(filter-out 0,$(V)),,@)
say = $(if $(Q),@echo '  $(1) $(or $(2),$@)')
ifneq ($(findstring thread,$(SANITIZE)),)
export TSAN_OPTIONS := suppressions=$(CURDIR)/test/tsan.supp $(TSAN_OPTIONS)
endif
LINK = $(CC) $(CFLAGS) $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(LDFLAGS)
LIBS := -lev $(or $(shell pkg-config --libs $(PKGS) 2>/dev/null),-llmdb -lzmq -lxxhash -lzstd) -lpthread -ldl -lm
CLI_LIBS := -lyaml
# All of the archive goes into a program, so that modules it loads find every troupe_* function.
WHOLE = -rdynamic -Wl,--whole-archive $(BUILD)/libtroupe.a -Wl,--no-whole-archive

objects = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB_FOLDERS := core mailbox state transport runtime runtime/machine runtime/snapshot runtime/node runtime/sim
LIB_OBJECTS := $(call objects,$(wildcard $(LIB_FOLDERS:=/*.c)))
CLI_OBJECTS := $(call objects,$(wildcard runtime/cli/*.c))
SAMPLES := $(foreach d,$(wildcard samples/*/),$(if $(wildcard $(d)$(notdir $(d:/=)).c),$(notdir $(d:/=))))
MODULES := $(SAMPLES:%=$(BUILD)/samples/%.so)
TEST_SOURCES := $(wildcard test/*_test.c test/*/*_test.c test/*/*/*_test.c)
TESTS := $(foreach t,$(TEST_SOURCES),$(BUILD)/test/$(basename $(notdir $(t))))
SCRIPTS := $(filter-out test/run.sh,$(shell find test -maxdepth 1 -name "*.sh" -perm -u+x)) # the others are sourced
FUZZERS := $(patsubst test/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard test/fuzz/*_fuzz.c))
BENCH := $(if $(wildcard test/bench/bench.c),$(BUILD)/bench)
SOURCES = $(shell find core mailbox state transport runtime samples test -name '*.[ch]')

.PHONY: mutants all demo test bench install uninstall clean format format-check help deps run-demo run-test run-bench \
        fuzz run-fuzz shellcheck
.SECONDARY:
.DELETE_ON_ERROR:

all: $(BUILD)/libtroupe.a $(BUILD)/libtroupe.so $(BUILD)/troupe $(MODULES) $(BUILD)/samples/embed ## build the library, the command, the samples

# The second make sees what `deps` has just installed.
demo test bench fuzz: deps
	@$(MAKE) run-$@

demo: ## 100,000 transfers, the process killed twice on the way, the books checked
test: ## build everything, run every test
bench: ## measure everything, or with FIGURES="ring big" those
mutants: all $(TESTS) ## break a copy of the product in one way after the other; a test must notice each
	@BUILD=$(BUILD) test/crash/mutants.sh

fuzz: ## each parser against inputs that clang makes up, for FUZZ_SECONDS (60); a crash fails

deps: ## install what is missing (Debian, Ubuntu)
	@command -v dpkg-query >/dev/null || { echo "not Debian: install yourself: $(PACKAGES)"; exit 0; }; \
	have=$$(dpkg-query -W -f '$${db:Status-Abbrev}\n' $(PACKAGES) 2>/dev/null | grep -c '^ii'); \
	[ "$$have" -ge $(words $(PACKAGES)) ] && exit 0; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; \
	else echo "Not root, and there is no sudo. Have somebody run: apt-get install $(PACKAGES)"; exit 1; fi; \
	$$sudo apt-get update && \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(PACKAGES)

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC  ,$<)
	$(Q)$(CC) $(CFLAGS) $(FLAGS) -c -o $@ $<

$(BUILD)/libtroupe.a: $(LIB_OBJECTS)
	@rm -f $@
	$(call say,AR  )
	$(Q)$(AR) rcs $@ $^

$(BUILD)/libtroupe.so.$(VERSION): $(LIB_OBJECTS)
	$(call say,LINK)
	$(Q)$(LINK) -shared -Wl,-soname,$(SONAME) -o $@ $^ $(LIBS)

$(BUILD)/libtroupe.so: $(BUILD)/libtroupe.so.$(VERSION)
	@ln -sf $(<F) $(BUILD)/$(SONAME) && ln -sf $(SONAME) $@

$(BUILD)/troupe: $(CLI_OBJECTS) $(BUILD)/libtroupe.a
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $(CLI_OBJECTS) $(WHOLE) $(CLI_LIBS) $(LIBS)

define module_rule
$(BUILD)/samples/$(1).so: samples/$(1)/$(1).c
	@mkdir -p $$(@D)
	$$(call say,LINK)
	$$(Q)$$(LINK) $$(FLAGS) -Icore -shared -o $$@ $$<
endef
$(foreach s,$(SAMPLES),$(eval $(call module_rule,$(s))))

# What tests of the command link: all of it but main.
$(BUILD)/cli.a: $(filter-out %/main.o,$(CLI_OBJECTS))
	@rm -f $@
	$(call say,AR  )
	$(Q)$(AR) rcs $@ $^

$(BUILD)/samples/embed: samples/embed/main.c $(BUILD)/libtroupe.a
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(LINK) $(FLAGS) -Icore -o $@ $< $(BUILD)/libtroupe.a $(LIBS)

# Sources beside a test that are no tests themselves are linked into it.
define test_rule
$(BUILD)/test/$(basename $(notdir $(1))): $(call objects,$(1) $(filter-out %_test.c,$(wildcard $(dir $(1))*.c))) \
                                          $(BUILD)/cli.a $(BUILD)/libtroupe.a
	@mkdir -p $$(@D)
	$$(call say,LINK)
	$$(Q)$$(LINK) -o $$@ $$(filter %.o,$$^) $(BUILD)/cli.a $$(WHOLE) -lcmocka $$(CLI_LIBS) $$(LIBS)
endef
$(foreach t,$(TEST_SOURCES),$(eval $(call test_rule,$(t))))

$(BUILD)/bench: $(call objects,$(wildcard test/bench/*.c)) $(BUILD)/libtroupe.a
	$(call say,LINK)
	$(Q)$(LINK) -o $@ $(filter %.o,$^) $(WHOLE) $(LIBS)

# Another compiler, another directory; the sanitizers are in both steps, libFuzzer's main only in the link.
FUZZ_SANITIZE := address,undefined
run-fuzz:
	@$(MAKE) CC=clang BUILD=build-fuzz SANITIZE=fuzzer-no-link,$(FUZZ_SANITIZE) CFLAGS='-O1 -g' run-fuzzers

.PHONY: run-fuzzers
run-fuzzers: $(FUZZERS)
	@BUILD=$(BUILD) test/fuzz/run.sh $(FUZZERS)

$(BUILD)/fuzz/%: $(BUILD)/obj/test/fuzz/%.o $(BUILD)/cli.a $(BUILD)/libtroupe.a
	@mkdir -p $(@D)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer,$(FUZZ_SANITIZE) -o $@ $< $(BUILD)/cli.a $(WHOLE) $(CLI_LIBS) $(LIBS)

run-demo: all
	@BUILD=$(BUILD) samples/bank/demo.sh

run-test: all $(TESTS)
	@BUILD=$(BUILD) LIBS="$(LIBS)" test/run.sh $(TESTS) $(SCRIPTS)

run-bench: all $(BENCH)
	@$(if $(BENCH),$(BENCH) $(FIGURES),echo "no test/bench/bench.c")

install: all ## install to $(DESTDIR)$(PREFIX)
	$(call say,INST,$(DESTDIR)$(PREFIX))
	$(Q)install -d $(addprefix $(DESTDIR)$(PREFIX)/,bin include lib/pkgconfig share/man/man1)
	$(Q)install -s -m 755 $(BUILD)/troupe $(DESTDIR)$(PREFIX)/bin/troupe
	$(Q)install -m 644 core/troupe.h $(DESTDIR)$(PREFIX)/include/troupe.h
	$(Q)install -m 644 $(BUILD)/libtroupe.a $(DESTDIR)$(PREFIX)/lib/libtroupe.a
	$(Q)install -s -m 755 $(BUILD)/libtroupe.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/
	$(Q)ln -sf libtroupe.so.$(VERSION) $(DESTDIR)$(PREFIX)/lib/$(SONAME)
	$(Q)ln -sf $(SONAME) $(DESTDIR)$(PREFIX)/lib/libtroupe.so
	$(Q)printf '%s\n' 'prefix=$(PREFIX)' 'Name: troupe' 'Description: durable actors for C' 'Version: $(VERSION)' \
	    'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -ltroupe' 'Libs.private: $(LIBS)' \
	    > $(DESTDIR)$(PREFIX)/lib/pkgconfig/troupe.pc
	$(Q)install -m 644 docs/troupe.1 $(DESTDIR)$(PREFIX)/share/man/man1/troupe.1
	$(Q)[ -n '$(DESTDIR)' ] || ldconfig 2>/dev/null || true

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/troupe include/troupe.h lib/libtroupe.a lib/libtroupe.so lib/$(SONAME) \
	    lib/libtroupe.so.$(VERSION) lib/pkgconfig/troupe.pc share/man/man1/troupe.1)

clean: ## remove every build directory
	rm -rf build build-*

format: ## format all C sources in place
	clang-format -i $(SOURCES)

format-check: ## fail if a source is not formatted
	clang-format --dry-run -Werror $(SOURCES)

shellcheck: ## check the scripts, if shellcheck is installed
	@if command -v shellcheck >/dev/null; then shellcheck -x -S warning -e SC2154,SC2010 $$(find .ci samples test -type f \( -name '*.sh' -o -path .ci/run \)); \
	else echo 'shellcheck is not installed'; fi

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 14
	@echo "variables: CC CFLAGS LDFLAGS WERROR= SANITIZE=address,undefined BUILD PREFIX DESTDIR"

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
