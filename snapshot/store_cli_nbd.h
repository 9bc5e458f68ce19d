/* store_cli_nbd.h - the commands of godwit-store that talk NBD to QEMU's tools: serve, import, export.
 *
 * No second copy is made: qemu-nbd reads a foreign image where it lies, qemu-img writes one straight from the store.
 */
#ifndef GODWIT_SNAPSHOT_STORE_CLI_NBD_H
#define GODWIT_SNAPSHOT_STORE_CLI_NBD_H

int store_cli_nbd_serve(int argc, char **argv);
int store_cli_nbd_import(int argc, char **argv);
int store_cli_nbd_export(int argc, char **argv);

#endif
