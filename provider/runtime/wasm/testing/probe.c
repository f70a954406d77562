/* Tells what a WASI command sees of the world: files, clock, randomness, environment. One line each. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void list(const char *path) {
  DIR *folder = opendir(path);
  if (!folder) {
    printf("list %s: %s\n", path, strerror(errno));
    return;
  }
  printf("list %s:", path);
  for (struct dirent *entry; (entry = readdir(folder));) printf(" %s%s", entry->d_name, entry->d_type == DT_DIR ? "/" : "");
  printf("\n");
  closedir(folder);
}

static void show(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) {
    printf("read %s: %s\n", path, strerror(errno));
    return;
  }
  char text[64] = {0};
  size_t count = fread(text, 1, sizeof text - 1, file);
  struct stat found;
  stat(path, &found);
  printf("read %s: %zu of %lld bytes, \"%.*s\"", path, count, (long long)found.st_size, (int)strcspn(text, "\n"), text);
  if (fseek(file, -3, SEEK_END) == 0 && (count = fread(text, 1, 3, file)) == 3) printf(", ending in \"%.3s\"", text);
  printf("\n");
  fclose(file);
}

static void try_to_write(const char *path) {
  int file = open(path, O_WRONLY | O_CREAT, 0600);
  printf("write %s: %s\n", path, file < 0 || write(file, "x", 1) < 0 ? strerror(errno) : "done");
}

int main(void) {
  printf("Content-Type: text/plain\n\n");
  list("/");
  list("/data");
  list("/none");
  show("/data/hello.txt");
  show("/data/../data/hello.txt");
  show("/../../etc/passwd");
  show("/etc/passwd");
  try_to_write("/data/hello.txt");
  try_to_write("/new.txt");
  printf("mkdir: %s\n", mkdir("/folder", 0700) < 0 ? strerror(errno) : "done");
  printf("unlink: %s\n", unlink("/data/hello.txt") < 0 ? strerror(errno) : "done");

  struct timespec before, after;
  clock_gettime(CLOCK_REALTIME, &before);
  sleep(3600);
  clock_gettime(CLOCK_REALTIME, &after);
  printf("time: %lld, and an hour later %lld\n", (long long)before.tv_sec, (long long)after.tv_sec);
  unsigned char bytes[40];
  getentropy(bytes, sizeof bytes);
  printf("random: ");
  for (size_t i = 0; i < sizeof bytes; i++) printf("%02x", bytes[i]);
  printf("\n");

  const char *names[] = {"SECRET", "HTTP_PROXY", "HTTP_X_A", "PATH_INFO", "QUERY_STRING", "CONTENT_LENGTH", "PATH"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const char *value = getenv(names[i]);
    printf("%s: %s\n", names[i], value ? value : "(none)");
  }
  return 0;
}
