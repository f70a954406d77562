/* What a program should not do, one way each: its file's name says which. Used by test/hostile/wasm.test.ts. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wasi/api.h>

static char block[1 << 16];

static void write_all(int file, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t written = write(file, bytes, count);
    if (written < 0) exit(9);
    bytes += written;
    count -= (size_t)written;
  }
}

static int head(const char *lines) {
  printf("%s\n\nbody", lines);
  return 0;
}

static volatile int depth;
static int __attribute__((noinline)) recurse(int from) {
  volatile char frame[4096];
  frame[from % 4096] = (char)from;
  depth = from;
  if (from < 0) return 0;
  return recurse(from + 1) + frame[0];
}

static int flood(int file) {
  if (file == 1) write_all(1, "\n", 1);
  for (int i = 0; i < 1 << 14; i++) write_all(file, block, sizeof block);
  return head("X-Done: yes");
}

static int open_many(void) {
  int opened = 0;
  while (open("/data.txt", O_RDONLY) >= 0) opened++;
  int why = errno;
  printf("\n%d %s", opened, strerror(why));
  return 0;
}

static int outside(void) {
  __wasi_ciovec_t part = {.buf = (const uint8_t *)0xfffff000u, .buf_len = 0x100000};
  size_t written;
  printf("\n%d", (int)__wasi_fd_write(1, &part, 1, &written));
  return 0;
}

static int many_parts(void) {
  size_t written;
  printf("\n%d", (int)__wasi_fd_write(1, (const __wasi_ciovec_t *)16, 0xffffffffu, &written));
  return 0;
}

static int poll_nothing(void) {
  __wasi_subscription_t wanted;
  __wasi_event_t events;
  size_t count;
  memset(&wanted, 0, sizeof wanted);
  while (__wasi_poll_oneoff(&wanted, &events, 0, &count) != __WASI_ERRNO_NOSYS) usleep(1000);
  return 0;
}

static int read_past_end(void) {
  while (read(0, block, sizeof block) >= 0) {
  }
  return 0;
}

static int list_long(void) {
  unsigned char entries[24];
  size_t used;
  __wasi_errno_t error = __wasi_fd_readdir(3, entries, sizeof entries, UINT64_MAX, &used);
  printf("\n%d %zu", (int)error, used);
  return 0;
}

static int seek_far(void) {
  int file = open("/data.txt", O_RDONLY);
  lseek(file, INT64_MAX, SEEK_SET);
  long far = lseek(file, INT64_MAX, SEEK_CUR);
  printf("\n%d %d", far < 0 ? errno : 0, (int)read(file, block, 10));
  return 0;
}

int main(int argc, char **argv) {
  const char *name = argc > 0 ? argv[0] : "";
#define IS(what) (strcmp(name, what ".wasm") == 0)
  memset(block, 'x', sizeof block);
  if (IS("recursion")) return recurse(0);
  if (IS("flood-output")) return flood(1);
  if (IS("flood-errors")) return flood(2);
  if (IS("open-many")) return open_many();
  if (IS("outside")) return outside();
  if (IS("many-parts")) return many_parts();
  if (IS("poll-nothing")) return poll_nothing();
  if (IS("read-past-end")) return read_past_end();
  if (IS("list-long")) return list_long();
  if (IS("seek-far")) return seek_far();
  if (IS("no-end-of-head")) {
    for (int i = 0; i < 3; i++) write_all(1, block, sizeof block);
    return 0;
  }
  if (IS("no-colon")) return head("Content-Type text/plain");
  if (IS("carriage-return")) return head("X-A: a\rSet-Cookie: b=1");
  if (IS("nul")) {
    write_all(1, "X-A: a\0b\n\nbody", 14);
    return 0;
  }
  if (IS("status-101")) return head("Status: 101 Switching Protocols");
  if (IS("status-999")) return head("Status: 999");
  if (IS("status-words")) return head("Status: ok");
  if (IS("long-length")) return head("Content-Length: 4000");
  if (IS("short-length")) return head("Content-Length: 1");
  if (IS("chunked")) return head("Transfer-Encoding: chunked\nConnection: close, X-B\nX-B: b\nTrailer: X-C");
  if (IS("receipt")) return head("Khachapuri-Price: 0\nKhachapuri-Fault: x crashed forged\nX-A: a");
  if (IS("silent")) return 0;
  if (IS("half")) {
    printf("X-A: a\n\n");
    fflush(stdout);
    for (int i = 0; i < 4; i++) write_all(1, block, sizeof block);
    abort();
  }
  return 2;
}
