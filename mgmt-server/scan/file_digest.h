/* file_digest.h - a fingerprint of everything but its blocks that a file's contents depend on: size, times, runs.
 *
 * Two states of a file with the same digest and untouched blocks have the same contents. It must withstand a guest that
 * builds its file system by hand, so it is SHA-256, cut to 16 bytes. It begins with the version of the rules below
 * which it was made, so that a reader that learned something new does not believe its predecessor.
 */
#ifndef GODWIT_SCAN_FILE_DIGEST_H
#define GODWIT_SCAN_FILE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "common/base.h"

enum { FILE_DIGEST_LEN = 16 };

struct file_digest;

struct file_digest *file_digest_new(void); /* NULL: out of memory */
void file_digest_free(struct file_digest *digest);
DEFINE_CLEANUP(struct file_digest *, file_digest_free);

/* Begin, add what matters, end. @kind names the file system. A failure inside of OpenSSL ends as -EIO. */
void file_digest_begin(struct file_digest *digest, const char *kind);
void file_digest_add(struct file_digest *digest, const void *bytes, size_t len);
void file_digest_number(struct file_digest *digest, uint64_t number);
int file_digest_end(struct file_digest *digest, uint8_t out[FILE_DIGEST_LEN]);

#endif
