/*
 * The programs of the runtime's compliance suite (../../compliance.ts) as one WASI command in the CGI way: its file's
 * name says which one it is. Built as its neighbour compliance.wasm by build.sh.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

static long query_number(const char *name, long otherwise) {
  const char *found = strstr(variable("QUERY_STRING"), name);
  return found && found[strlen(name)] == '=' ? atol(found + strlen(name) + 1) : otherwise;
}

static char buffer[65536];

static void write_all(const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t written = write(1, bytes, count);
    if (written < 0) exit(4);
    bytes += written;
    count -= (size_t)written;
  }
}

static int echo(void) {
  printf("Status: %ld\n", query_number("status", 200));
  printf("X-Method: %s\nX-Target: %s\nX-Seen: %s\n", variable("REQUEST_METHOD"), variable("REQUEST_URI"),
         variable("HTTP_X_TEST"));
  printf("Set-Cookie: a=1\nSet-Cookie: b=2\n\n");
  fflush(stdout);
  ssize_t count;
  while ((count = read(0, buffer, sizeof buffer)) > 0) write_all(buffer, (size_t)count);
  return 0;
}

static int bytes(void) {
  long size = query_number("size", 0), at = 0;
  printf("Content-Type: application/octet-stream\n\n");
  fflush(stdout);
  while (at < size) {
    size_t count = 0;
    while (count < sizeof buffer && at < size) buffer[count++] = (char)(at++ % 251);
    write_all(buffer, count);
  }
  return 0;
}

static int count(void) {
  long size = 0;
  ssize_t part;
  while ((part = read(0, buffer, sizeof buffer)) > 0) size += part;
  printf("\n%ld", size);
  return 0;
}

static void print_json(const char *text) {
  putchar('"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') printf("\\%c", *text);
    else if (*text == '\n') printf("\\n");
    else putchar(*text);
  }
  putchar('"');
}

static int settings(void) {
  printf("Content-Type: application/json\r\n\r\n{\"secret\":");
  print_json(variable("SECRET"));
  printf(",\"params\":%s}", variable("KHACHAPURI_PARAMS"));
  return 0;
}

static int endless(void) {
  printf("\n");
  fflush(stdout);
  for (;;) write_all(buffer, sizeof buffer);
}

static int loop(void) {
  for (volatile long turns = 0;; turns++) {
  }
}

static int hog(void) {
  for (;;) {
    volatile char *taken = malloc(1 << 20);
    if (!taken) abort();
    for (size_t i = 0; i < 1 << 20; i++) taken[i] = 1;
  }
}

static int crash(void) {
  fprintf(stderr, "ouch\n");
  return 3;
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    int (*run)(void);
  } programs[] = {{"echo", echo},       {"bytes", bytes}, {"count", count}, {"settings", settings},
                  {"endless", endless}, {"loop", loop},   {"hog", hog},     {"crash", crash}};
  for (size_t i = 0; argc > 0 && i < sizeof programs / sizeof *programs; i++)
    if (strncmp(argv[0], programs[i].name, strlen(programs[i].name)) == 0) return programs[i].run();
  return 2;
}
