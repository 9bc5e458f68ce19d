# The library is every .c here but the program's own file, so that unit tests can link it.
$(eval $(call library,hypervisor,$(filter-out hypervisor/godwit_hypervisor.c,$(wildcard hypervisor/*.c)),jansson openssl))
$(eval $(call program,godwit-hypervisor,hypervisor/godwit_hypervisor.c,hypervisor snapshot common))
