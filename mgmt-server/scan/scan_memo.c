#include "mgmt-server/scan/scan_memo.h"

#include <errno.h>

#include "common/io.h"
#include "mgmt-server/scan/engine_client.h"
#include "mgmt-server/scan/signature_set.h"

int scan_memo_open(struct scan_memo_file *f, struct scan_state *state, const char *signatures,
		   const char *libexec, bool hunt, struct err *err)
{
	CLEANUP_FREE char *engine = io_printf("%s/godwit-scan-engine", libexec);
	int r;

	*f = (struct scan_memo_file){ 0 };
	if (!engine)
		return err_set(err, ENOMEM, "look at the signatures in %s", signatures);
	r = signature_set_version(signatures, engine, f->version, err);
	if (r == 0)
		r = scan_state_set(state, f->version, hunt, &f->set, err);
	f->memo = (struct scan_memo){ .state = state, .set = &f->set, .version = f->version };
	return r;
}

static void end_index(struct scan_memo_file *f)
{
	scan_index_end(f->memo.index);
	f->memo.index = NULL;
}

void scan_memo_close(struct scan_memo_file *f)
{
	end_index(f);
	engine_client_stop(f->memo.engine);
	f->memo.engine = NULL;
}

static int begin(struct scan_memo_file *f, const struct scan_snapshot *snapshot,
		 const struct scan_index_wanted *wanted, size_t count, struct err *err)
{
	const struct manifest *m = scan_snapshot_manifest(snapshot);
	const struct scan_index_order order = { .state = f->memo.state,
						.set = f->set.id,
						.desktop = m->desktop,
						.snapshot = m->id,
						.created_ms = m->created_wall_ms,
						.wanted = wanted,
						.wanted_count = count };

	end_index(f);
	return scan_index_begin(&f->memo.index, &order, err);
}

static int volume_changed(void *arg, const char *volume, const struct volume_extent *extents,
			  size_t count, struct err *err)
{
	return scan_index_changed(arg, volume, extents, count, err);
}

int scan_memo_snapshot(struct scan_memo_file *f, const struct scan_snapshot *snapshot,
		       struct err *err)
{
	int r = begin(f, snapshot, NULL, 0, err);

	if (r < 0 || !scan_index_head(f->memo.index)[0])
		return r;
	return scan_snapshot_changes(snapshot, scan_index_head(f->memo.index), volume_changed,
				     f->memo.index, err);
}

int scan_memo_wanted(struct scan_memo_file *f, const struct scan_snapshot *snapshot,
		     const struct scan_index_wanted *wanted, size_t count, struct err *err)
{
	return begin(f, snapshot, wanted, count, err);
}
