# The library is every .c here but the program's and the plugin's own files.
SNAPSHOT_PROGRAM_SOURCES := snapshot/godwit_store.c $(wildcard snapshot/store_cli.c snapshot/store_cli_*.c)
SNAPSHOT_PLUGIN_SOURCES := snapshot/nbd_store_plugin.c
$(eval $(call library,snapshot,$(filter-out $(SNAPSHOT_PROGRAM_SOURCES) $(SNAPSHOT_PLUGIN_SOURCES),$(wildcard snapshot/*.c)),openssl libzstd zlib libnbd jansson libcurl))
$(eval $(call program,godwit-store,$(SNAPSHOT_PROGRAM_SOURCES),snapshot common,))
$(eval $(call plugin,godwit-nbd-store,$(SNAPSHOT_PLUGIN_SOURCES),snapshot common,))
