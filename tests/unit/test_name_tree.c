/* Paths from parent links, also from links that an attacker made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base.h"
#include "mgmt-server/scan/name_tree.h"

enum { ROOT = 2 };

static const struct {
	uint64_t inode, parent;
	const char *name;
} names[] = {
	{ 10, ROOT, "home" }, { 11, 10, "anna" }, { 12, 11, "letter" }, { 12, ROOT, "second-name" },
	{ 20, 21, "a" },      { 21, 20, "b" },    { 30, 99, "orphan" }, { 40, 40, "self" },
};

static const struct {
	uint64_t inode;
	const char *want, *begins;
} cases[] = {
	{ 10, "home", NULL },
	{ 12, "home/anna/letter", NULL },
	{ 30, "<inode 99>/orphan", NULL },
	{ 99, "<inode 99>", NULL },
	{ ROOT, "", NULL },
	{ 20, NULL, "<inode " },
	{ 40, NULL, "<inode 40>/self/self" },
};

static void test_name_tree_puts_paths_together(void **state)
{
	CLEANUP(name_tree_free) struct name_tree *tree = name_tree_new();
	char path[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(name_tree_add(tree, names[i].inode, names[i].parent, names[i].name,
					       strlen(names[i].name)),
				 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t len = name_tree_path(tree, cases[i].inode, ROOT, path, sizeof(path) - 1);

		path[len] = 0;
		if (cases[i].want)
			assert_string_equal(path, cases[i].want);
		else
			assert_memory_equal(path, cases[i].begins, strlen(cases[i].begins));
	}
}

static void test_name_tree_holds_many_and_deep(void **state)
{
	CLEANUP(name_tree_free) struct name_tree *tree = name_tree_new();
	static char path[64 << 10];
	uint64_t deepest = ROOT + 5000;
	size_t len;

	(void)state;
	for (uint64_t i = 1; i <= 5000; i++)
		assert_int_equal(name_tree_add(tree, ROOT + i, ROOT + i - 1, "d", 1), 0);
	len = name_tree_path(tree, deepest, ROOT, path, sizeof(path));
	assert_int_equal(len, 5000 * 2 - 1);
	assert_memory_equal(path, "d/d/d", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_tree_puts_paths_together),
		cmocka_unit_test(test_name_tree_holds_many_and_deep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
