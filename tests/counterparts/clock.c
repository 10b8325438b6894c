// A wall clock that a test sets, for programs that are not ours to change: MiniStack, and the functions that it runs.
// Preloaded (LD_PRELOAD), it adds the seconds that stand in the file named by KEYTIDE_TEST_CLOCK, eight bytes in this
// machine's order, to the time of day. All programs that name one file have one clock, which may be set while they run.
// Only the time of day is moved: what waits, waits by the monotonic clock, which stays the machine's.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *ahead;

__attribute__((constructor)) static void open_clock(void) {
  const char *path = getenv("KEYTIDE_TEST_CLOCK");
  if (path == NULL) return;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  // A clock that is asked for and not there must stop the program: it would tell another time than the others.
  if (file < 0) abort();
  void *mapped = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) abort();
  close(file);
  ahead = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
  return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
  (void)zone;
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *seconds) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (seconds) *seconds = now.tv_sec;
  return now.tv_sec;
}

// A Python built for older systems waits for its locks until a time of day; the kernel knows the real one alone.
int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  int (*wait)(sem_t *, const struct timespec *) =
      (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
  struct timespec real = *until;
  if (ahead) real.tv_sec -= *ahead;
  return wait(semaphore, &real);
}
