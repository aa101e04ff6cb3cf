/* damage_test.c - a store one of whose files is damaged: it says so, or it does not matter; never wrong data, never a
 * signal, never a hang.
 * SPDX-License-Identifier: Apache-2.0
 *
 * TROUPE_SEED sets the seed, TROUPE_DAMAGES how many kinds and places are tried (3000); a failure prints which, and
 * TROUPE_DAMAGE=number does that one alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "state/lmdb_store.h"
#include "test/crash/model.h"

enum {
    COPIES_MAX = 8,
    FOLDED = 60,
    LAST = 80,
    MORE = 12,
    DAMAGES = 3000,
    PER_CHILD = 250,
    HANG_S = 60,
    PAGE = 4096,
    FILES = 2
};

static const char *const names[FILES] = {"journal.log", "tables.mdb"};

struct image {
    unsigned char *bytes;
    size_t size;
};

struct progress { /* shared with the children */
    uint64_t damage, refused, harmless, taken_back;
    bool newest; /* only the journal's newest record is damaged */
    char what[128], wrong[700];
};

/* Both files as they were at one time. */
struct copy {
    const char *what;
    struct image images[FILES];
    uint64_t epoch;
    int run; /* which opening; other stores have others */
    bool other;
};

struct fixture {
    struct model *model, *other;
    struct image images[FILES]; /* those that are damaged: the last copy's */
    struct copy copies[COPIES_MAX];
    size_t copy_count;
    char directory[96];
    uint64_t seed;
    struct progress *progress;
};

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void path_of(const struct fixture *f, const char *name, char path[static 256])
{
    snprintf(path, 256, "%s/%s", f->directory, name);
}

static void empty(const struct fixture *f)
{
    DIR *directory = opendir(f->directory);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", f->directory, entry->d_name);
        unlink(path);
    }
    if (directory) {
        closedir(directory);
    }
}

static struct image load(const struct fixture *f, const char *name)
{
    char path[256];
    struct stat status;
    path_of(f, name, path);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    struct image image = {malloc((size_t)status.st_size), (size_t)status.st_size};
    assert_int_equal(read(fd, image.bytes, image.size), image.size);
    close(fd);
    return image;
}

static void save(const struct fixture *f, const char *name, const unsigned char *bytes, size_t size)
{
    char path[256];
    path_of(f, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 || write(fd, bytes, size) != (ssize_t)size || close(fd) != 0) {
        abort();
    }
}

static struct troupe__store *open_store(const struct fixture *f, unsigned interval_ms, char *error, size_t error_size,
                                        enum troupe_error *ret)
{
    struct troupe__lmdb_options options = {
        .sync = true, .map_size = 1 << 26, .fold_interval_ms = interval_ms, .extent_size = 1 << 16};
    struct troupe__store *store = NULL;
    *ret = troupe__lmdb_store_open(f->directory, &options, &store, error, error_size);
    return store;
}

static void take_copy(struct fixture *f, const char *what, uint64_t epoch, int run, bool other)
{
    assert_true(f->copy_count < COPIES_MAX);
    f->copies[f->copy_count++] = (struct copy){what, {load(f, names[0]), load(f, names[1])}, epoch, run, other};
}

/* Open the store, commit up to `last` and close it; copies are taken before, as a crash would leave it, and after. */
static void commit_up_to(struct fixture *f, const struct model *model, uint64_t last, unsigned interval_ms, int run,
                         const char *before, const char *after)
{
    char error[512];
    enum troupe_error result;
    struct troupe__store *store = open_store(f, interval_ms, error, sizeof error, &result);
    assert_int_equal(result, TROUPE_OK);
    assert_int_equal(store->replay(store, NULL, NULL), TROUPE_OK);
    for (uint64_t epoch = store->last_epoch + 1; epoch <= last; epoch++) {
        assert_int_equal(model_commit(model, store, epoch, 1), TROUPE_OK);
        time_t end_s = time(NULL) + 20;
        while (interval_ms == 1 && epoch % 3 == 0 && store->refresh(store) < epoch) {
            assert_true(time(NULL) < end_s);
            nanosleep(&(struct timespec){0, 100000}, NULL);
        }
    }
    take_copy(f, before, last, run, model == f->other);
    store->close(store);
    if (after) {
        take_copy(f, after, last, run, model == f->other);
    }
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->seed = number_of("TROUPE_SEED", 1);
    f->model = model_new(f->seed);
    snprintf(f->directory, sizeof f->directory, "%s/troupe-damage-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->directory));
    f->progress = mmap(NULL, sizeof *f->progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(f->progress != MAP_FAILED);
    f->other = model_new(f->seed + 1);
    commit_up_to(f, f->other, FOLDED, 1, 9, "another store", NULL);
    empty(f);
    commit_up_to(f, f->model, 1, 3600000, 0, "run 0, nothing folded", NULL);
    commit_up_to(f, f->model, FOLDED / 2, 1, 1, "run 1", "run 1, closed");
    commit_up_to(f, f->model, FOLDED, 1, 2, "run 2", "run 2, closed");
    commit_up_to(f, f->model, LAST, 3600000, 3, "run 3", NULL);
    memcpy(f->images, f->copies[f->copy_count - 1].images, sizeof f->images);
    empty(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    empty(f);
    rmdir(f->directory);
    for (size_t i = 0; i < f->copy_count; i++) {
        free(f->copies[i].images[0].bytes);
        free(f->copies[i].images[1].bytes);
    }
    free(f->model);
    free(f->other);
    munmap(f->progress, sizeof *f->progress);
    free(f);
    return 0;
}

/* ---- what is done to a file -------------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15;
    return troupe__hash(random, sizeof *random);
}

/* Damage `bytes`; returns the new size. */
static size_t damage(unsigned char *bytes, size_t size, uint64_t *random, char *what, size_t what_size)
{
    size_t pages = size / PAGE;
    /* A third in the two meta pages' first bytes, a third in the first bytes of a page, a third anywhere. */
    uint64_t where = draw(random) % 3;
    size_t at = where == 0   ? draw(random) % 2 * PAGE + draw(random) % 152
                : where == 1 ? draw(random) % pages * PAGE + draw(random) % 64
                             : draw(random) % size;
    switch (draw(random) % 9) {
    case 0:
    case 1:
    case 2:
        bytes[at] ^= (unsigned char)(1 << draw(random) % 8);
        snprintf(what, what_size, "a bit flipped at %zu", at);
        break;
    case 3:
        bytes[at] = (unsigned char)draw(random);
        snprintf(what, what_size, "byte %zu overwritten", at);
        break;
    case 4:
        at = at / 512 * 512;
        memset(bytes + at, 0, 512);
        snprintf(what, what_size, "sector at %zu zeroed", at);
        break;
    case 5:
        at = at / PAGE * PAGE;
        for (size_t i = 0; i < PAGE; i++) {
            bytes[at + i] = (unsigned char)draw(random);
        }
        snprintf(what, what_size, "page at %zu overwritten with noise", at);
        break;
    case 6: {
        size_t from = draw(random) % pages * PAGE;
        at = at / PAGE * PAGE;
        memmove(bytes + at, bytes + from, PAGE);
        snprintf(what, what_size, "page at %zu overwritten with that at %zu", at, from);
        break;
    }
    case 7: /* In LMDB's page that is where its entries begin. */
        at = at / PAGE * PAGE + 14;
        bytes[at]--;
        snprintf(what, what_size, "byte %zu made less", at);
        break;
    default:
        size = draw(random) % 2 ? at : at / PAGE * PAGE;
        snprintf(what, what_size, "cut off at %zu", size);
        break;
    }
    return size;
}

/* Open it, compare it with the model, go on, and compare again. */
static void look(const struct fixture *f)
{
    struct progress *progress = f->progress;
    uint64_t last = LAST;
    for (int round = 0; round < 2; round++) {
        char error[600] = "";
        enum troupe_error result;
        struct troupe__store *store = open_store(f, 3600000, error, sizeof error, &result);
        if (result == TROUPE_OK) { /* A newest record that is damaged is not told from one that is torn. */
            uint64_t floor = progress->newest && round == 0 ? LAST - 1 : last;
            result = model_check(f->model, store, floor, last, error, sizeof error);
            progress->taken_back += store->last_epoch < last;
            last = store->last_epoch;
        }
        if (result != TROUPE_OK && (result == TROUPE_EFAILED || round > 0 || !error[0])) {
            snprintf(progress->wrong, sizeof progress->wrong, "%s%s", round ? "later: " : "", error);
            _exit(1);
        }
        for (int i = 0; result == TROUPE_OK && round == 0 && i < MORE; i++) {
            if (model_commit(f->model, store, ++last, 1) != TROUPE_OK) {
                snprintf(progress->wrong, sizeof progress->wrong, "commit: %.500s", store->error);
                _exit(1);
            }
        }
        if (store) {
            store->close(store);
        }
        if (result != TROUPE_OK) {
            progress->refused++;
            return;
        }
    }
    progress->harmless++;
}

/* Where the journal's newest record is, whole blocks: state/journal.h has its form. */
static size_t newest_record(const struct image *journal, size_t *ret_size)
{
    enum { EPOCH = 8, SIZE = 24, HEADER = 56 };
    for (size_t at = 0; at + PAGE <= journal->size; at += PAGE) {
        const unsigned char *block = journal->bytes + at;
        if (troupe__get_be64(block) == (uint64_t)2 << 32 && troupe__get_be64(block + EPOCH) == LAST) {
            *ret_size = (HEADER + (size_t)troupe__get_be64(block + SIZE) + PAGE - 1) / PAGE * PAGE;
            return at;
        }
    }
    abort();
}

static bool only_within(const unsigned char *bytes, size_t size, const struct image *image, size_t from, size_t length)
{
    for (size_t i = 0; i < image->size; i++) {
        if ((i < from || i >= from + length) && (i >= size || bytes[i] != image->bytes[i])) {
            return false;
        }
    }
    return size == image->size;
}

/* Whether the damage may take the store back by an epoch. */
static bool is_newest(const unsigned char *bytes, size_t size, const struct image *journal)
{
    size_t length, from = newest_record(journal, &length);
    return only_within(bytes, size, journal, from, length);
}

static void look_at_damages(const struct fixture *f, uint64_t from, uint64_t to)
{
    unsigned char *bytes[FILES] = {malloc(f->images[0].size), malloc(f->images[1].size)};
    for (uint64_t number = from; number < to; number++) {
        uint64_t random = f->seed + number * 1000003;
        size_t hit = draw(&random) % FILES;
        char what[80];
        empty(f);
        for (size_t i = 0; i < FILES; i++) {
            size_t size = f->images[i].size;
            memcpy(bytes[i], f->images[i].bytes, size);
            if (i == hit) {
                size = damage(bytes[i], size, &random, what, sizeof what);
                f->progress->newest = i == 0 && is_newest(bytes[i], size, &f->images[i]);
            }
            save(f, names[i], bytes[i], size);
        }
        f->progress->damage = number;
        snprintf(f->progress->what, sizeof f->progress->what, "%s: %s", names[hit], what);
        look(f);
    }
    free(bytes[0]);
    free(bytes[1]);
}

/* Run a part in a child, which may end by a signal. */
static void in_a_child(const struct fixture *f, uint64_t from, uint64_t to)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
    fflush(NULL);
    f->progress->wrong[0] = '\0';
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
            signal(signals[i], SIG_DFL); /* Not cmocka's. */
        }
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        mallopt(M_MMAP_THRESHOLD, 1 << 17);
        alarm(HANG_S);
        look_at_damages(f, from, to);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0) {
        fail_msg("TROUPE_SEED=%llu TROUPE_DAMAGE=%llu: %s: %s%s", (unsigned long long)f->seed,
                 (unsigned long long)f->progress->damage, f->progress->what, f->progress->wrong,
                 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "");
    }
}

/* A flipped bit, an overwritten byte, sector or page, a cut, anywhere in either file: the store is refused with a text,
 * or all of its rows are right, also after it has gone on. */
static void a_damaged_file_is_refused_or_the_damage_does_not_matter(void **state)
{
    struct fixture *f = *state;
    uint64_t only = number_of("TROUPE_DAMAGE", UINT64_MAX), count = number_of("TROUPE_DAMAGES", DAMAGES);
    if (only != UINT64_MAX) {
        in_a_child(f, only, only + 1);
        return;
    }
    for (uint64_t from = 0; from < count; from += PER_CHILD) {
        in_a_child(f, from, from + PER_CHILD < count ? from + PER_CHILD : count);
    }
    print_message("%zu and %zu bytes, %llu damages: %llu refused, %llu harmless, %llu taken back by an epoch\n",
                  f->images[0].size, f->images[1].size, (unsigned long long)count,
                  (unsigned long long)f->progress->refused, (unsigned long long)f->progress->harmless,
                  (unsigned long long)f->progress->taken_back);
    assert_true(f->progress->refused > count / 4);
}

/* Whether a pair is one that can be, or that may pass for one that can be. */
static bool may_open(const struct copy *journal, const struct copy *tables)
{
    if (journal->other != tables->other) {
        return false;
    }
    /* An older journal of the same run, with nothing folded meanwhile, is not told from one that ends there. Older
     * tables are caught up, as long as the journal has what they lack. */
    return journal->epoch >= tables->epoch || journal->run == tables->run;
}

/* The journal of one copy with the tables of another, of another time or another store: refused, or all that the
 * journal knows is there. A file that is missing or empty: the same. */
static void files_that_do_not_belong_together_are_refused_or_caught_up(void **state)
{
    struct fixture *f = *state;
    size_t opened = 0, refused = 0;
    static const struct copy missing = {.what = "missing"}, nothing = {.what = "empty"};
    for (size_t pair = 0; pair < (f->copy_count + 2) * (f->copy_count + 2); pair++) {
        size_t which[FILES] = {pair / (f->copy_count + 2), pair % (f->copy_count + 2)};
        const struct copy *copies[FILES];
        for (size_t i = 0; i < FILES; i++) {
            copies[i] = which[i] < f->copy_count    ? &f->copies[which[i]]
                        : which[i] == f->copy_count ? &missing
                                                    : &nothing;
        }
        bool both = copies[0]->epoch > 0 && copies[1]->epoch > 0,
             neither = copies[0] == &missing && copies[1] == &missing;
        empty(f);
        for (size_t i = 0; i < FILES; i++) {
            if (copies[i] != &missing) {
                save(f, names[i], copies[i]->images[i].bytes, copies[i]->images[i].size);
            }
        }
        char error[600] = "";
        enum troupe_error result;
        struct troupe__store *store = open_store(f, 3600000, error, sizeof error, &result);
        uint64_t expected = copies[0]->epoch;
        if (result == TROUPE_OK) {
            result =
                model_check(copies[0]->other ? f->other : f->model, store, expected, expected, error, sizeof error);
            opened++;
        } else {
            refused++;
        }
        bool sound = result == TROUPE_OK && (neither || (both && may_open(copies[0], copies[1])) ||
                                             (copies[0]->epoch > 0 && copies[1] == &missing));
        bool told = (result == TROUPE_ECORRUPT || result == TROUPE_EIO) && error[0] &&
                    (which[0] != which[1] || copies[0] == &nothing);
        if (!sound && !told) {
            fail_msg("journal: %s, tables: %s: %s", copies[0]->what, copies[1]->what,
                     result == TROUPE_OK ? "opened" : error);
        }
        if (store) {
            store->close(store);
        }
    }
    print_message("%zu pairs opened, %zu refused\n", opened, refused);
    assert_true(opened > f->copy_count && refused > f->copy_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_that_do_not_belong_together_are_refused_or_caught_up, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_refused_or_the_damage_does_not_matter, setup, teardown),
    };
    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
