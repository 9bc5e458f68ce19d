/* vm_walk.h - walk a mounted tree and stream its files as frames (vm_wire.h). Runs inside the micro-VM, as root.
 *
 * Symbolic links are never followed, nothing is ever opened but folders and regular files, depth is bounded only by the
 * number of descriptors. A stream that cannot be written to ends the program: nobody listens any more.
 */
#ifndef GODWIT_SCAN_VM_WALK_H
#define GODWIT_SCAN_VM_WALK_H

struct vm_walk;

struct vm_walk *vm_walk_new(int port); /* NULL: out of memory */

/* Every regular file below @root; hard links once, holes skipped. @prefix stands before each path. */
void vm_walk_tree(struct vm_walk *w, const char *root, const char *prefix);
/* A device as one file called "PREFIX<swap>". */
void vm_walk_device(struct vm_walk *w, const char *device, const char *prefix);
void vm_walk_lost(struct vm_walk *w, const char *why);
void vm_walk_done(struct vm_walk *w);

/* The names in a folder; return how many. */
int vm_walk_names(const char *folder, char names[][160], int max);

#endif
