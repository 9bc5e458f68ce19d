$(eval $(call library,migrate,$(wildcard migrate/*.c),jansson))
