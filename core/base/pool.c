/* pool.c - a fixed set of threads that share out the indices of one loop. It is no task queue: one loop runs at a
 * time, and the thread that asks for it works along.
 *
 * A loop lasts some tens of microseconds and thousands come each second, so a worker that runs dry spins for a while
 * before it sleeps, and the caller waits only for indices that were taken, never for a worker that has not woken up. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* sched_getaffinity: a process held to some processors gets no more threads than those */
#endif
#include "base/base.h"

/* WebAssembly has no threads of its own: the host starts workers on the same memory, and each calls fm_pool_serve. */
#if defined(__wasm__) && defined(__wasm_atomics__)
#define HOST_THREADS
#elif defined(__wasm__) && !defined(FM_NO_THREADS)
#define FM_NO_THREADS
#endif

#define MOST_THREADS 1024

typedef void (*pool_task)(void *context, size_t index, int worker);

static void run_alone(size_t count, pool_task task, void *context)
{
    for (size_t i = 0; i < count; i++) task(context, i, 0);
}

static fm_status check_threads(int threads, fm_error *err)
{
    if (threads < 0 || threads > MOST_THREADS)
        return fm_fail(err, FM_E_ARGUMENT, "The number of threads is %d; it must be 0 (one per processor) to %d.",
                       threads, MOST_THREADS);
    return FM_OK;
}

#ifdef FM_NO_THREADS

struct fm_pool {
    int threads;
};

fm_status fm_pool_create(fm_pool **pool, int threads, fm_error *err)
{
    *pool = NULL;
    fm_status status = check_threads(threads, err);
    if (status) return status;
    *pool = fm_alloc(1, sizeof **pool);
    if (!*pool) return fm_fail_memory(err, sizeof **pool, "a thread pool");
    (*pool)->threads = 1;
    return FM_OK;
}

void fm_pool_destroy(fm_pool *pool)
{
    fm_free(pool);
}

int fm_pool_threads(const fm_pool *pool)
{
    return pool ? pool->threads : 1;
}

void fm_pool_run(fm_pool *pool, size_t count, pool_task task, void *context)
{
    (void)pool;
    run_alone(count, task, context);
}

#else

#include <stdatomic.h>
#include <string.h>
#ifndef HOST_THREADS
#include <pthread.h>
#include <sched.h>
#include <unistd.h>
#endif

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#define PAUSE() _mm_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

#ifdef HOST_THREADS
#define SPINS 20000 /* about 0.1 ms, as an atomic load takes little without PAUSE */
#else
#define SPINS 2000 /* about 0.1 ms */
#endif
#define MOST_AT_ONCE ((size_t)UINT32_MAX)

/* ---- sleeping until something is so ---- */

#ifdef HOST_THREADS

typedef struct bell {
    atomic_int rings;
} bell;

static void bell_ring(bell *b)
{
    atomic_fetch_add(&b->rings, 1);
    __builtin_wasm_memory_atomic_notify((int *)&b->rings, UINT32_MAX);
}

static void bell_wait(bell *b, fm_pool *pool, bool (*done)(fm_pool *pool))
{
    for (;;) {
        int heard = atomic_load(&b->rings);
        if (done(pool)) return;
        __builtin_wasm_memory_atomic_wait32((int *)&b->rings, heard, -1);
    }
}

#else

typedef struct bell {
    pthread_mutex_t lock;
    pthread_cond_t rung;
} bell;

static bool bell_create(bell *b)
{
    return pthread_mutex_init(&b->lock, NULL) == 0 && pthread_cond_init(&b->rung, NULL) == 0;
}

static void bell_destroy(bell *b)
{
    pthread_cond_destroy(&b->rung);
    pthread_mutex_destroy(&b->lock);
}

static void bell_ring(bell *b)
{
    pthread_mutex_lock(&b->lock);
    pthread_cond_broadcast(&b->rung);
    pthread_mutex_unlock(&b->lock);
}

static void bell_wait(bell *b, fm_pool *pool, bool (*done)(fm_pool *pool))
{
    pthread_mutex_lock(&b->lock);
    while (!done(pool)) pthread_cond_wait(&b->rung, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

#endif

/* ---- one loop ---- */

#ifndef HOST_THREADS
typedef struct pool_worker {
    fm_pool *pool;
    pthread_t thread;
    int number;
} pool_worker;
#endif

struct fm_pool {
    /* The loop's number in the high half, the indices not yet taken in the low half. Taking one is a compare and swap
     * of the whole, which fails if the loop has moved on; what describes the loop is only rewritten while the low
     * half is 0, so an index that was taken belongs to the description that was read before. */
    _Alignas(64) _Atomic uint64_t ticket;
    _Atomic size_t count, base;
    _Atomic pool_task task;
    _Atomic(void *) context;
    _Alignas(64) _Atomic size_t done; /* indices whose task has returned */

    _Alignas(64) bell work;
    bell finished;
    atomic_int sleepers; /* workers that wait for `work` */
    atomic_bool caller_waits, stop;

    int threads, spins;
    uint32_t loop;
#ifndef HOST_THREADS
    pool_worker *workers;
#endif
};

/* Takes and runs indices until none is left. */
static void take_part(fm_pool *pool, int worker)
{
    uint64_t ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    while ((uint32_t)ticket != 0) {
        size_t count = atomic_load_explicit(&pool->count, memory_order_relaxed);
        size_t base = atomic_load_explicit(&pool->base, memory_order_relaxed);
        pool_task task = atomic_load_explicit(&pool->task, memory_order_relaxed);
        void *context = atomic_load_explicit(&pool->context, memory_order_relaxed);
        if (!atomic_compare_exchange_weak_explicit(&pool->ticket, &ticket, ticket - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        task(context, base + (count - (uint32_t)ticket), worker);
        /* Ordered against the caller's own pair of store and load: one of the two sees the other. */
        if (atomic_fetch_add(&pool->done, 1) + 1 == count && atomic_load(&pool->caller_waits))
            bell_ring(&pool->finished);
        ticket = atomic_load_explicit(&pool->ticket, memory_order_acquire);
    }
}

static bool has_work(fm_pool *pool)
{
    return (uint32_t)atomic_load(&pool->ticket) != 0 || atomic_load(&pool->stop);
}

static void wait_for_work(fm_pool *pool)
{
    for (int i = 0; i < pool->spins; i++) {
        if (has_work(pool)) return;
        PAUSE();
    }
    atomic_fetch_add(&pool->sleepers, 1);
    bell_wait(&pool->work, pool, has_work);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void serve(fm_pool *pool, int number)
{
    while (!atomic_load(&pool->stop)) {
        take_part(pool, number);
        wait_for_work(pool);
    }
}

static bool is_done(fm_pool *pool)
{
    return atomic_load(&pool->done) == atomic_load_explicit(&pool->count, memory_order_relaxed);
}

static void wait_until_done(fm_pool *pool)
{
    for (int i = 0; i < pool->spins; i++) {
        if (is_done(pool)) return;
        PAUSE();
    }
    atomic_store(&pool->caller_waits, true);
    bell_wait(&pool->finished, pool, is_done);
    atomic_store(&pool->caller_waits, false);
}

static void run_shared(fm_pool *pool, size_t base, size_t count, pool_task task, void *context)
{
    atomic_store_explicit(&pool->count, count, memory_order_relaxed);
    atomic_store_explicit(&pool->base, base, memory_order_relaxed);
    atomic_store_explicit(&pool->task, task, memory_order_relaxed);
    atomic_store_explicit(&pool->context, context, memory_order_relaxed);
    atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
    pool->loop++;
    atomic_store(&pool->ticket, (uint64_t)pool->loop << 32 | count);
    if (atomic_load(&pool->sleepers) > 0) bell_ring(&pool->work);
    take_part(pool, 0);
    wait_until_done(pool);
}

void fm_pool_run(fm_pool *pool, size_t count, pool_task task, void *context)
{
    if (!pool || pool->threads == 1 || count <= 1) {
        run_alone(count, task, context);
        return;
    }
    for (size_t base = 0; base < count;) {
        size_t now = count - base < MOST_AT_ONCE ? count - base : MOST_AT_ONCE;
        run_shared(pool, base, now, task, context);
        base += now;
    }
}

int fm_pool_threads(const fm_pool *pool)
{
    return pool ? pool->threads : 1;
}

/* ---- where the threads come from ---- */

#ifdef HOST_THREADS

/* The host's threads belong to the program, not to a model, so all pools are one. Loops come from one thread. */
static fm_pool crew = {.threads = 1, .spins = SPINS};

void fm_pool_crew(int threads)
{
    crew.threads = threads;
}

void fm_pool_serve(int number)
{
    serve(&crew, number);
}

fm_status fm_pool_create(fm_pool **pool, int threads, fm_error *err)
{
    *pool = NULL;
    fm_status status = check_threads(threads, err);
    if (!status) *pool = &crew;
    return status;
}

void fm_pool_destroy(fm_pool *pool)
{
    (void)pool;
}

#else

static void *start(void *argument)
{
    pool_worker *worker = argument;
    serve(worker->pool, worker->number);
    return NULL;
}

static int processors(void)
{
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online > MOST_THREADS ? MOST_THREADS : (int)online;
}

fm_status fm_pool_create(fm_pool **out, int threads, fm_error *err)
{
    *out = NULL;
    fm_status status = check_threads(threads, err);
    if (status) return status;
    int available = processors();
    if (threads == 0) threads = available < MOST_THREADS ? available : MOST_THREADS;
    fm_pool *pool = fm_alloc(1, sizeof *pool);
    if (!pool) return fm_fail_memory(err, sizeof *pool, "a thread pool");
    pool->workers = fm_alloc((size_t)threads, sizeof *pool->workers);
    if (!pool->workers) {
        fm_free(pool);
        return fm_fail_memory(err, (size_t)threads * sizeof *pool->workers, "the threads of a pool");
    }
    if (!bell_create(&pool->work) || !bell_create(&pool->finished)) {
        fm_free(pool->workers);
        fm_free(pool);
        return fm_fail(err, FM_E_MEMORY, "The locks of a thread pool could not be made.");
    }
    /* Spinning only pays where nobody else waits for the processor. */
    pool->spins = threads > available ? 0 : SPINS;
    pool->threads = 1;
    for (int i = 1; i < threads; i++) {
        pool_worker *worker = &pool->workers[i];
        worker->pool = pool;
        worker->number = i;
        int problem = pthread_create(&worker->thread, NULL, start, worker);
        if (problem) {
            fm_pool_destroy(pool);
            return fm_fail(err, FM_E_MEMORY, "Thread %d of %d could not be started (error %d); ask for fewer threads.",
                           i + 1, threads, problem);
        }
        pool->threads++;
    }
    *out = pool;
    return FM_OK;
}

void fm_pool_destroy(fm_pool *pool)
{
    if (!pool) return;
    atomic_store(&pool->stop, true);
    bell_ring(&pool->work);
    for (int i = 1; i < pool->threads; i++) pthread_join(pool->workers[i].thread, NULL);
    bell_destroy(&pool->finished);
    bell_destroy(&pool->work);
    fm_free(pool->workers);
    fm_free(pool);
}

#endif

#endif
