/* vm_wire.h - what the micro-VM says: frames over a virtio-serial port, little-endian, in this order for each file:
 * FILE, DATA…, END; or FILE, UNREADABLE. LOST stands between files. DONE is the last one.
 *
 * The guest's kernel has parsed a hostile file system, so nothing here is believed: the reader that takes the frames in
 * (reader_vm.c) checks every length and is sandboxed like the others.
 */
#ifndef GODWIT_SCAN_VM_WIRE_H
#define GODWIT_SCAN_VM_WIRE_H

#include <stdint.h>

enum vm_frame_kind {
	VM_FRAME_FILE = 1, /* a: inode, b: size, c: mtime; text: path */
	VM_FRAME_DATA,     /* a: offset; the bytes */
	VM_FRAME_END,
	VM_FRAME_UNREADABLE, /* text: why the file that is open could not be read */
	VM_FRAME_LOST, /* text: something that could not be looked at: a folder, a file system */
	VM_FRAME_DONE,
};

enum { VM_FRAME_DATA_MAX = 256 << 10, VM_FRAME_MAGIC = 0x44574721 };

struct vm_frame {
	uint32_t magic, kind, len, reserved;
	uint64_t a, b, c;
};

#endif
