/* scan_ask.h - the commands of godwit-scan that work on a state: rescan, hunt, files. See --help. */
#ifndef GODWIT_SCAN_SCAN_ASK_H
#define GODWIT_SCAN_SCAN_ASK_H

#include <stdbool.h>

bool scan_ask_wanted(int argc, char **argv);
/* The exit status of the program. */
int scan_ask_main(int argc, char **argv);

#endif
