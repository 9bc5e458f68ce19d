# Mending: a program for each library, as for the readers, and one that starts them.
mend := mgmt-server/scan/mend

# $(call mender,NAME,ITS OWN SOURCES,ITS LIBRARY,PKG-CONFIG NAMES)
define mender
$(call program,$(1),$(addprefix $(mend)/,$(2) mender_main.c),$(3) scan snapshot common,$(4))
endef

$(eval $(call mender,godwit-scan-mend-ext,mender_ext.c ext_writer.c,scan-ext,))
$(eval $(call mender,godwit-scan-mend-ntfs,mender_ntfs.c,,libntfs-3g))
$(eval $(call program,godwit-scan-mend,$(addprefix $(mend)/,godwit_scan_mend.c mend_run.c mend_child.c mend_overlay.c) \
	$(addprefix mgmt-server/scan/,scan_snapshot.c nbd_child.c),scan snapshot common,jansson))
