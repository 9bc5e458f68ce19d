# The library is every .c here but the programs' own files.
SNAPSHOT_PROGRAM_SOURCES := snapshot/godwit_store.c
$(eval $(call library,snapshot,$(filter-out $(SNAPSHOT_PROGRAM_SOURCES),$(wildcard snapshot/*.c)),openssl libzstd zlib libnbd jansson libcurl))
