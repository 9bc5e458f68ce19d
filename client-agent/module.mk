# The library is every .c here but the program's and the plugin's own files.
CLIENT_AGENT_PROGRAM := client-agent/godwit_agent.c
CLIENT_AGENT_PLUGIN := client-agent/nbd_agent_plugin.c
$(eval $(call library,client-agent,$(filter-out $(CLIENT_AGENT_PROGRAM) $(CLIENT_AGENT_PLUGIN),$(wildcard client-agent/*.c)),jansson))
$(eval $(call program,godwit-agent,$(CLIENT_AGENT_PROGRAM),client-agent migrate snapshot common,))
$(eval $(call plugin,godwit-nbd-agent,$(CLIENT_AGENT_PLUGIN),client-agent snapshot common,nbdkit))
