# The library is everything but main(); cli/ and scan/ are folders of their own.
SERVER_FOLDERS := http catalogue core api
SERVER_SOURCES := $(filter-out mgmt-server/server_main.c,$(wildcard mgmt-server/*.c $(SERVER_FOLDERS:%=mgmt-server/%/*.c)))
$(eval $(call library,mgmt-server,$(SERVER_SOURCES),libmicrohttpd gnutls sqlite3 openssl jansson libcurl))
$(eval $(call program,godwit-server,mgmt-server/server_main.c,mgmt-server migrate snapshot common,))
