$(eval $(call library,common,$(wildcard common/*.c),openssl jansson libcurl inih))
