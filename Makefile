# Godwit's build: this file holds the rules, each folder's module.mk says what is built from it.
#
#   FLAVOUR=release|asan|clang   (default release); objects go to build/FLAVOUR, release programs also to build/bin
#   V=1                          print every command

FLAVOUR ?= release
O := build/$(FLAVOUR)

CC_release := gcc
CC_asan    := gcc
CC_clang   := clang
CC_fuzz    := clang
FLAGS_release := -O2
FLAGS_asan    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_clang   := -O2
FLAGS_fuzz    := -O1 -fno-omit-frame-pointer -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all

CC := $(CC_$(FLAVOUR))
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Werror
CFLAGS ?= -g
ALL_CFLAGS := -std=gnu17 -D_GNU_SOURCE -D_FORTIFY_SOURCE=$(if $(filter asan fuzz,$(FLAVOUR)),0,2) \
	-fPIC -pthread -fstack-protector-strong $(FLAGS_$(FLAVOUR)) $(WARNINGS) $(CFLAGS) -I.
ALL_LDFLAGS := -pthread $(FLAGS_$(FLAVOUR)) -Wl,-z,relro,-z,now $(LDFLAGS)

ifeq ($(V),1)
Q :=
say := @:
else
Q := @
say = @printf '  %-8s %s\n'
endif

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

.PHONY: all
all:

# ---- What module.mk files call -------------------------------------------------------------------------------
#
#   $(eval $(call library,NAME,SOURCES,PKG-CONFIG NAMES))             $(O)/lib/libNAME.a
#   $(eval $(call program,NAME,SOURCES,LIBRARIES,PKG-CONFIG NAMES))   $(O)/bin/NAME
#   $(eval $(call plugin,NAME,SOURCES,LIBRARIES,PKG-CONFIG NAMES))    $(O)/lib/NAME.so
#
# LIBRARIES are our own, the one that depends on others first; what those need from pkg-config follows by itself.
# Among PKG-CONFIG NAMES a word that begins with - goes to the linker as it is, for a library that pkg-config cannot find.

PROGRAMS :=
PLUGINS :=
objects = $(patsubst %.c,$(O)/obj/%.o,$(1))
archives = $(patsubst %,$(O)/lib/lib%.a,$(1))
all_pkgs = $(sort $(2) $(foreach lib,$(1),$(PKGS_$(lib))))
pkg_config = $(if $(filter-out -%,$(2)),$(shell pkg-config $(1) $(filter-out -%,$(2)) || echo --pkg-config-failed)) \
	$(if $(filter --libs,$(1)),$(filter -%,$(2)))

# PKGS is target-specific, so that an object is compiled with the flags of its own library only.
define library
LIBRARIES += $(1)
OBJECTS += $(call objects,$(2))
PKGS_$(1) := $(3)
$(call objects,$(2)): PKGS := $(3)
$(O)/lib/lib$(1).a: $(call objects,$(2))
endef

define linked
OBJECTS += $(call objects,$(2))
$(call objects,$(2)): PKGS := $(call all_pkgs,$(3),$(4))
$(1): $(call objects,$(2)) $(call archives,$(3))
$(1): LINK_PKGS := $(call all_pkgs,$(3),$(4))
endef

define program
PROGRAMS += $(1)
$(call linked,$(O)/bin/$(1),$(2),$(3),$(4))
endef

define plugin
PLUGINS += $(1)
$(call linked,$(O)/lib/$(1).so,$(2),$(3),$(4))
endef

# Bottom up, as the dependencies point (ARCHITECTURE.md).
FOLDERS := common snapshot migrate hypervisor client-agent mgmt-server mgmt-server/cli mgmt-server/scan mgmt-server/scan/mend tests
-include $(FOLDERS:%=%/module.mk)

all: $(PROGRAMS:%=$(O)/bin/%) $(PLUGINS:%=$(O)/lib/%.so)
ifeq ($(FLAVOUR),release)
all: $(PROGRAMS:%=build/bin/%)
build/bin/%: $(O)/bin/%
	@mkdir -p $(@D)
	@ln -sfr $< $@
endif

$(O)/obj/%.o: %.c
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(call pkg_config,--cflags,$(PKGS)) -MMD -MP -c -o $@ $<

$(O)/lib/lib%.a:
	$(say) AR $@
	@mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(O)/bin/%:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call pkg_config,--libs,$(LINK_PKGS)) -lm

$(O)/lib/%.so:
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) -shared $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(call pkg_config,--libs,$(LINK_PKGS)) -lm

-include $(sort $(OBJECTS:.o=.d))

# ---- What a person calls -------------------------------------------------------------------------------------

.PHONY: help test check check-asan check-clang check-system check-scan fault fuzz bench demo demo-stop lint format setup clean
help:
	@sed -n 's/^#: //p' Makefile

#: make               build everything into build/bin
#: make demo          install what is missing, build, and play the whole job on this machine (KEEP=1 leaves it running
#:                    until `make demo-stop`)
#: make test          install what is missing, build, run every test; ends with a line "N passed, N failed"
#: make check         unit tests only                     make check-asan    the same under ASan and UBSan
#: make check-clang   everything built by clang           make check-system  system tests only
#: make check-scan    the offline scanner, at length
#: make fault         long fault sweeps                   make fuzz          fuzz targets (FUZZ_SECONDS=60 each)
#: make bench         figures beside the peers            make lint          static analysis
#: make format        clang-format every C file           make clean         delete build/

clean:
	rm -rf build
