# The library is every .c here but the program's own file.
CLI_PROGRAM_SOURCES := mgmt-server/cli/godwit.c
$(eval $(call library,cli,$(filter-out $(CLI_PROGRAM_SOURCES),$(wildcard mgmt-server/cli/*.c)),openssl jansson libcurl))
$(eval $(call program,godwit,$(CLI_PROGRAM_SOURCES),cli snapshot common,))
