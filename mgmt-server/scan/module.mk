# godwit-scan and the programs it starts, one for each licence and each kind of untrusted data (README.md). They are
# installed side by side: godwit-scan looks for the others beside itself.

scan := mgmt-server/scan
SCAN_LIB := volume_channel physical_memory entry_channel content_room content_runs content_source file_digest known_files sandbox name_tree inode_set utf16 content_hash \
	child engine_client engine_wire engine_check sig_files sig_tar
$(eval $(call library,scan,$(SCAN_LIB:%=$(scan)/%.c),libseccomp openssl))
# What tests and fuzz targets reach into. Each ends in one program; their licences go together.
# A scan and what it remembers: SQLite stays out of the readers and the engine.
SCAN_RUN_LIB := content_cache content_identity identity_memo signature_set scan_content scan_partition scan_reader scan_run scan_vm \
	scan_state scan_index scan_index_commit
SCAN_RUN_LIB += file_measure watch_reader watch_files watch_blocks
$(eval $(call library,scan-run,$(SCAN_RUN_LIB:%=$(scan)/%.c) $(wildcard mgmt-server/catalogue/db*.c),sqlite3 jansson))
$(eval $(call library,scan-ext,$(addprefix $(scan)/,reader_ext.c ext_volume.c ext_io.c ext_journal.c ext_journal_sums.c),ext2fs com_err))
$(eval $(call library,scan-fat,$(addprefix $(scan)/,fat_walk.c fat_content.c fat_volume.c fat_boot.c fat_entries.c exfat_entries.c fat_names.c),))
# Debian's wimlib.pc names packages that libwim-dev does not bring. Tests link everything, and few of them use this.
WIMLIB := -Wl,--push-state,--as-needed,-lwim,--pop-state
$(eval $(call library,scan-ntfs,$(addprefix $(scan)/,ntfs_mft.c ntfs_damage.c ntfs_record.c ntfs_value.c ntfs_reparse.c wof_stream.c),$(WIMLIB)))
$(eval $(call library,scan-parts,$(addprefix $(scan)/,reader_parts.c part_probe.c),blkid))
$(eval $(call library,scan-ram,$(addprefix $(scan)/,reader_ram.c ram_tables.c ram_runs.c),))
$(eval $(call library,scan-vm,$(addprefix $(scan)/,reader_vm.c vm_stream.c),))

# $(call scan_reader,NAME,ITS OWN SOURCES,ITS LIBRARY,PKG-CONFIG NAMES)
define scan_reader
$(call program,$(1),$(patsubst %,$(scan)/%.c,$(2) reader_main),$(3) scan snapshot common,$(4))
endef

$(eval $(call scan_reader,godwit-scan-parts,,scan-parts,))
$(eval $(call scan_reader,godwit-scan-ext,,scan-ext,))
$(eval $(call scan_reader,godwit-scan-ram,,scan-ram,))
$(eval $(call scan_reader,godwit-scan-vm,,scan-vm,))
$(eval $(call scan_reader,godwit-scan-fat,reader_fat,scan-fat,))
$(eval $(call scan_reader,godwit-scan-ntfs,reader_ntfs ntfs_volume ntfs_overlay,scan-ntfs,libfsntfs libbfio))
$(eval $(call program,godwit-scan-engine,$(addprefix $(scan)/,engine.c engine_worker.c engine_canary.c),scan snapshot common,libclamav zlib))
$(eval $(call program,godwit-scan,$(addprefix $(scan)/,godwit_scan.c scan_report.c scan_image.c scan_snapshot.c scan_memo.c \
	scan_rescan.c scan_hunt.c scan_ask.c nbd_child.c scan_signatures.c watch.c),scan-run scan snapshot common,jansson zlib))

# The micro-VM for file systems that need the kernel. It downloads Debian's kernel, so plain `make` does not build it.
.PHONY: scan-vm
scan-vm: $(O)/scan-vm/init
	@$(scan)/vm/build.sh $< $(O)/scan-vm
$(O)/scan-vm/init: $(addprefix $(scan)/,vm/init.c vm/vm_walk.c inode_set.c vm/vm_walk.h vm_wire.h inode_set.h)
	$(say) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -static $(WARNINGS) -I. -o $@ $(filter %.c,$^)
