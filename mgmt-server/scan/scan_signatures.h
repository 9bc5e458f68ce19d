/* scan_signatures.h - the commands `godwit-scan signatures` and `godwit-scan unpack`: what is known of a signature folder,
 * a trial of it in the engine's sandbox, and a bundle that becomes a folder. */
#ifndef GODWIT_SCAN_SCAN_SIGNATURES_H
#define GODWIT_SCAN_SCAN_SIGNATURES_H

#include <stdbool.h>

/* Is argv[1] one of these commands? */
bool scan_signatures_wanted(int argc, char **argv);

/* Return the exit status: 0, or 3 when it could not be done, with the reason on stderr. */
int scan_signatures_main(int argc, char **argv);

#endif
