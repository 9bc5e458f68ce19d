/* What code that was taken over by a hostile volume could still do: nothing but talk through the descriptors it has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"
#include "mgmt-server/scan/sandbox.h"

#if defined(__SANITIZE_ADDRESS__)
enum {
	SANITIZED = 1
}; /* its runtime needs the system calls that are forbidden, and terabytes of address space */
#else
enum { SANITIZED = 0 };
#endif

enum { DATA_MAX = 256 << 20, TEMP_MAX = 1 << 20 };
enum { NO_SANDBOX = 77, DONE = 0, REFUSED = 1 };

static char temp[] = "/tmp/godwit-test-sandbox.XXXXXX";
static char folder[] = "/tmp/godwit-test-folder.XXXXXX";
static char outside[sizeof(folder) + 8]; /* a file in it */
static const char *read_folder;          /* of the sandbox */

static int do_nothing(void)
{
	return DONE;
}

static int do_memfd(void)
{
	int fd = memfd_create("x", 0);

	return fd >= 0 && write(fd, "x", 1) == 1 ? DONE : REFUSED;
}

static int do_open_passwd(void)
{
	return open("/etc/passwd", O_RDONLY) >= 0 ? DONE : REFUSED;
}

static int do_write_temp(void)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%s/x", temp);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	return fd >= 0 && write(fd, "x", 1) == 1 ? DONE : REFUSED;
}

static int do_connect(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0 ? DONE : REFUSED;
}

static int do_fork(void)
{
	return fork() >= 0 ? DONE : REFUSED;
}

static int do_exec(void)
{
	execl("/bin/true", "true", NULL);
	return REFUSED;
}

static int do_kill(void)
{
	return kill(getppid(), 0) == 0 ? DONE : REFUSED;
}

static int do_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? DONE : REFUSED;
}

static int do_map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) != MAP_FAILED
		       ? DONE
		       : REFUSED;
}

static int do_eat_memory(void)
{
	return mmap(NULL, 8ULL << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED
		       ? DONE
		       : REFUSED;
}

static int do_share_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) !=
			       MAP_FAILED
		       ? DONE
		       : REFUSED;
}

static int do_grow_data(void)
{
	return mmap(NULL, DATA_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
			       MAP_FAILED
		       ? DONE
		       : REFUSED;
}

static int do_pipe(void)
{
	int ends[2];

	return pipe(ends) == 0 ? DONE : REFUSED;
}

static int do_system_v(void)
{
	return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) >= 0 ? DONE : REFUSED;
}

/* TEMP_MAX is all there is, in however many files. */
static int do_fill_temp(void)
{
	char path[64];
	int fd, written = 0;

	for (int i = 0; i < 8; i++) {
		snprintf(path, sizeof(path), "%s/%d", temp, i);
		fd = open(path, O_WRONLY | O_CREAT, 0600);
		for (int k = 0; fd >= 0 && k < TEMP_MAX / 4096; k++)
			written += pwrite(fd, "x", 1, k * 4096) == 1;
	}
	return written * 4096 > TEMP_MAX ? DONE : REFUSED;
}

static int do_look_at_processes(void)
{
	struct stat st;

	return stat("/proc/1", &st) == 0 ? DONE : REFUSED;
}

/* newfstatat is allowed to both, for fstat(3). */
static int do_look(void)
{
	const char *const paths[] = { "/etc/passwd", "/etc",  outside,       "../etc",
				      "/bin/sh",     "/home", "/dev/null",   "/proc/self/exe",
				      "/sys",        "/run",  "../../../usr" };
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		if (fstatat(AT_FDCWD, paths[i], &st, 0) == 0)
			return DONE;
	}
	return REFUSED;
}

static int do_access(void)
{
	return access(outside, F_OK) == 0 || access("/etc/passwd", F_OK) == 0 ? DONE : REFUSED;
}

static int do_look_at_file_system(void)
{
	struct statfs fs;

	return statfs("/etc", &fs) == 0 || statfs(outside, &fs) == 0 ? DONE : REFUSED;
}

/* Landlock has no say in this. */
static int do_change_mode(void)
{
	return chmod(outside, 0777) == 0 ? DONE : REFUSED;
}

static int do_list_root(void)
{
	return open("/", O_RDONLY | O_DIRECTORY) >= 0 ? DONE : REFUSED;
}

/* The folder that an engine may read besides. */
static int do_read_folder(void)
{
	return open(outside, O_RDONLY) >= 0 ? DONE : REFUSED;
}

static int do_change_folder(void)
{
	return chmod(outside, 0777) == 0 || open(outside, O_WRONLY) >= 0 || unlink(outside) == 0
		       ? DONE
		       : REFUSED;
}

enum { KILLED = -SIGSYS };

static const struct {
	const char *name;
	int (*act)(void);
	int reader, engine; /* DONE, REFUSED, or KILLED */
} cases[] = {
	{ "nothing", do_nothing, DONE, DONE },
	{ "make a memfd", do_memfd, KILLED, KILLED },
	{ "read a file", do_open_passwd, KILLED, REFUSED },
	{ "write to the temp folder", do_write_temp, KILLED, DONE },
	{ "make a network socket", do_connect, KILLED, KILLED },
	{ "start a process", do_fork, KILLED, KILLED },
	{ "become another program", do_exec, KILLED, KILLED },
	{ "signal the parent", do_kill, KILLED, KILLED },
	{ "trace", do_ptrace, KILLED, KILLED },
	{ "make code", do_map_code, KILLED, KILLED },
	{ "take more memory than allowed", do_eat_memory, REFUSED, REFUSED },
	{ "take more memory of its own than allowed", do_grow_data, REFUSED, REFUSED },
	{ "make memory that can be shared", do_share_memory, KILLED, KILLED },
	{ "make a pipe", do_pipe, KILLED, KILLED },
	{ "make System V memory", do_system_v, KILLED, KILLED },
	{ "fill the temp folder", do_fill_temp, KILLED, REFUSED },
	{ "see other processes", do_look_at_processes, REFUSED, REFUSED },
	{ "look at a file", do_look, REFUSED, REFUSED },
	{ "look at a file by another call", do_access, KILLED, REFUSED },
	{ "look at a file system", do_look_at_file_system, KILLED, REFUSED },
	{ "change a file's mode", do_change_mode, KILLED, REFUSED },
	{ "list the root", do_list_root, KILLED, REFUSED },
};

static int try(enum sandbox_role role, int (*act)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		const struct sandbox box = { .role = role,
					     .memory_max = 1ULL << 30,
					     .data_max = DATA_MAX,
					     .cpu_seconds = 10,
					     .temp_folder = temp,
					     .read_folder = read_folder,
					     .temp_max = TEMP_MAX };
		struct err err = { 0 };

		if (sandbox_enter(&box, &err) < 0) {
			dprintf(2, "%s\n", err_text(&err));
			_exit(NO_SANDBOX);
		}
		_exit(act());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void check(enum sandbox_role role, size_t i, int want)
{
	int got = try(role, cases[i].act);

	if (got == NO_SANDBOX)
		fail_msg("the sandbox could not be entered");
	if (got != want)
		fail_msg("%s: %s: got %d, want %d", role == SANDBOX_READER ? "reader" : "engine",
			 cases[i].name, got, want);
}

static void test_sandbox_lets_a_reader_do_nothing_else(void **state)
{
	(void)state;
	if (SANITIZED)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(SANDBOX_READER, i, cases[i].reader);
}

static void test_sandbox_lets_an_engine_write_to_its_temp_folder_only(void **state)
{
	(void)state;
	if (SANITIZED)
		skip();
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(SANDBOX_ENGINE, i, cases[i].engine);
	/* What it wrote was on a file system of its own. */
	assert_int_equal(rmdir(temp), 0);
	assert_int_equal(mkdir(temp, 0700), 0);
}

static void test_sandbox_lets_an_engine_only_read_its_folder(void **state)
{
	(void)state;
	if (SANITIZED)
		skip();
	read_folder = folder;
	assert_int_equal(try(SANDBOX_ENGINE, do_read_folder), DONE);
	assert_int_equal(try(SANDBOX_ENGINE, do_change_folder), REFUSED);
	assert_int_equal(try(SANDBOX_ENGINE, do_write_temp), DONE);
	read_folder = NULL;
	assert_int_equal(try(SANDBOX_ENGINE, do_read_folder), REFUSED);
}

static int make_folders(void **state)
{
	(void)state;
	if (!mkdtemp(temp) || !mkdtemp(folder))
		return -1;
	snprintf(outside, sizeof(outside), "%s/file", folder);
	return close(open(outside, O_WRONLY | O_CREAT, 0600));
}

static int remove_folders(void **state)
{
	(void)state;
	unlink(outside);
	rmdir(temp);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sandbox_lets_a_reader_do_nothing_else),
		cmocka_unit_test(test_sandbox_lets_an_engine_only_read_its_folder),
		cmocka_unit_test(test_sandbox_lets_an_engine_write_to_its_temp_folder_only),
	};

	return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
