# Unit tests: tests/unit/test_STEM.c becomes build/FLAVOUR/tests/test_STEM, linked with every library.
# Benchmarks in C: tests/bench/bench_STEM.c becomes build/FLAVOUR/tests/bench_STEM; tests/bench/*.sh run them.
# Fuzz targets: tests/fuzz/fuzz_STEM.c; tests/fuzz/corpus/STEM/* is replayed by every `make check`.

# Tools of system tests: tests/lib/NAME.c with a main() becomes build/FLAVOUR/tests/NAME.
TEST_TOOLS := hvctl page_server
# What unit tests share: the rest of tests/lib, without what is preloaded.
$(eval $(call library,testing,$(filter-out $(patsubst %,tests/lib/%.c,$(TEST_TOOLS) hijacked_reader faultfs faultfs_power clock_jump),\
	$(wildcard tests/lib/*.c)),openssl jansson))

TEST_LIBRARIES := testing \
	$(foreach lib,scan-ext scan-fat scan-ntfs scan-parts scan-vm scan-ram scan-run scan cli mgmt-server client-agent hypervisor migrate snapshot common,$(filter $(lib),$(LIBRARIES)))
UNIT_TESTS := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))
BENCHES := $(patsubst tests/bench/%.c,%,$(wildcard tests/bench/bench_*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

$(foreach t,$(UNIT_TESTS),$(eval $(call linked,$(O)/tests/$(t),tests/unit/$(t).c,$(TEST_LIBRARIES),cmocka)))
$(foreach b,$(BENCHES),$(eval $(call linked,$(O)/tests/$(b),tests/bench/$(b).c,$(TEST_LIBRARIES),)))
$(foreach f,$(FUZZERS),$(eval $(call linked,$(O)/tests/$(f),tests/fuzz/$(f).c,$(TEST_LIBRARIES),)))

# For LD_PRELOAD into programs that have no sanitizer (that would have to come first).
ifeq ($(filter asan fuzz,$(FLAVOUR)),)
FAULTFS := $(O)/lib/faultfs.so
$(eval $(call linked,$(FAULTFS),tests/lib/faultfs.c tests/lib/faultfs_power.c,,))
CLOCK_JUMP := $(O)/lib/clock_jump.so
$(eval $(call linked,$(CLOCK_JUMP),tests/lib/clock_jump.c,,))
endif

$(foreach t,$(TEST_TOOLS),$(eval $(call linked,$(O)/tests/$(t),tests/lib/$(t).c,testing migrate snapshot common,)))
# A reader program like those of mgmt-server/scan, but for what it does (system/scan_hijack.sh).
$(eval $(call linked,$(O)/tests/hijacked_reader,tests/lib/hijacked_reader.c mgmt-server/scan/reader_main.c,scan snapshot common,))
$(TEST_TOOLS:%=$(O)/tests/%) $(O)/tests/hijacked_reader:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call pkg_config,--libs,$(LINK_PKGS)) -lm

$(O)/tests/test_%:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call pkg_config,--libs,$(LINK_PKGS)) -lm

# A rule of its own: two patterns in one rule would mean that one run makes both.
$(O)/tests/bench_%:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call pkg_config,--libs,$(LINK_PKGS)) -lm

# Only the fuzz flavour has libFuzzer's main(); the others replay the files they are given.
ifeq ($(FLAVOUR),fuzz)
FUZZ_MAIN := -fsanitize=fuzzer
else
$(FUZZERS:%=$(O)/tests/%): $(O)/obj/tests/fuzz/replay_main.o
OBJECTS += $(O)/obj/tests/fuzz/replay_main.o
FUZZ_MAIN :=
endif
$(O)/tests/fuzz_%:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) $(FUZZ_MAIN) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call pkg_config,--libs,$(LINK_PKGS)) -lm

.PHONY: tests benches
benches: $(BENCHES:%=$(O)/tests/%) $(TEST_TOOLS:%=$(O)/tests/%)
tests: all $(FAULTFS) $(CLOCK_JUMP) $(TEST_TOOLS:%=$(O)/tests/%) $(O)/tests/hijacked_reader $(UNIT_TESTS:%=$(O)/tests/%) $(FUZZERS:%=$(O)/tests/%)

setup:
	@tests/setup.sh test

check: tests
	@tests/run.sh $(O) unit

check-asan:
	@$(MAKE) --no-print-directory FLAVOUR=asan check

check-clang:
	@$(MAKE) --no-print-directory FLAVOUR=clang check

check-system: tests
	@tests/run.sh $(O) system

# The offline scanner at length: more hostile volumes than `make test` has time for.
check-scan: tests scan-vm
	@SCAN_LONG=1 LIMIT_S=7200 ONLY='scan_*' tests/run.sh $(O) system

# One run of everything, so that one closing line counts it all. ASan and clang builds must exist before it starts.
test: setup
	@$(MAKE) --no-print-directory tests scan-vm
	@$(MAKE) --no-print-directory FLAVOUR=asan tests
	@$(MAKE) --no-print-directory FLAVOUR=clang all
	@tests/run.sh $(O) unit asan system

fuzz: setup
	@$(MAKE) --no-print-directory FLAVOUR=fuzz tests-fuzz
	@tests/fuzz/run.sh build/fuzz $(FUZZ_SECONDS)

.PHONY: tests-fuzz
tests-fuzz: $(FUZZERS:%=$(O)/tests/%)

fault: tests
	@tests/fault/run.sh $(O)

bench:
	@tests/setup.sh bench
	@$(MAKE) --no-print-directory all benches
	@tests/bench/run.sh $(O)

demo:
	@tests/setup.sh test
	@$(MAKE) --no-print-directory all
	@tests/demo.sh $(if $(KEEP),--keep)

demo-stop:
	@tests/demo.sh --stop

lint:
	@tests/setup.sh lint
	@tests/lint.sh

format:
	@clang-format -i $$(git ls-files '*.c' '*.h')
