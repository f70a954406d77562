/*
 * Hostile programs, as one binary in the CGI way: the query says which. Each prints on lines of its own what it could do,
 * "contained" where it could do nothing.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int breaches;

static void breach(const char *what, const char *which) {
  printf("%s %s\n", what, which);
  breaches++;
}

static int done(void) {
  if (!breaches) printf("contained\n");
  return 0;
}

static int fork_bomb(void) {
  int children = 0;
  for (int i = 0; i < 5000; i++) {
    pid_t child = fork();
    if (child == 0) {
      pause();
      _exit(0);
    }
    if (child < 0) break;
    children++;
  }
  printf("forked %d\n", children);
  return 0;
}

/** What a program does that cannot work without them. */
static int need_processes(void) {
  fork_bomb();
  fprintf(stderr, "no process is left\n");
  return 3;
}

static void *wait_for_ever(void *nothing) {
  pause();
  return nothing;
}

static int thread_bomb(void) {
  int threads = 0;
  pthread_t thread;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  while (threads < 5000 && pthread_create(&thread, &small, wait_for_ever, NULL) == 0) threads++;
  printf("started %d\n", threads);
  fflush(stdout);
  _exit(0);
}

/** Forks as long as it lives; only being ended ends it. */
static int restless_bomb(void) {
  for (;;)
    if (fork() < 0) sched_yield();
}

static int memory(void) {
  for (long i = 0; i < 4096; i++) {
    char *taken = malloc(1 << 20);
    if (!taken) return 1;
    memset(taken, 1, 1 << 20);
  }
  return 0;
}

static int recursion(int depth) {
  volatile char frame[4096];
  frame[0] = (char)depth;
  return recursion(depth + 1) + frame[0];
}

/** In many files, as each alone has a bound of its own. */
static int disk(void) {
  static char block[1 << 16];
  const long file_bytes = 8L << 20;
  const char *folders[] = {"/tmp", "/run/w", "/dev/shm", "/app", "/", "/run", "/dev"};
  memset(block, 1, sizeof block);
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    char path[64];
    long written = 0, size = file_bytes;
    int files = 0;
    signal(SIGXFSZ, SIG_IGN);
    for (; size == file_bytes && files < 128; files++) {
      snprintf(path, sizeof path, "%s/filler%d", folders[i], files);
      int file = open(path, O_CREAT | O_WRONLY, 0600);
      if (file < 0) break;
      ssize_t count;
      for (size = 0; size < file_bytes && (count = write(file, block, sizeof block)) > 0;) size += count;
      written += size;
      close(file);
    }
    if (files > 0) printf("%s %ld\n", folders[i], written >> 10);
    while (files-- > 0) {
      snprintf(path, sizeof path, "%s/filler%d", folders[i], files);
      unlink(path);
    }
  }
  return 0;
}

static int inodes(void) {
  char path[64];
  for (int i = 0; i < 5000000; i++) {
    snprintf(path, sizeof path, "/tmp/%d", i);
    int file = open(path, O_CREAT | O_WRONLY, 0600);
    if (file < 0) {
      printf("made %d\n", i);
      return 0;
    }
    close(file);
  }
  return 0;
}

static int flood(int fd) {
  static char block[1 << 16];
  memset(block, 'x', sizeof block);
  for (long written = 0; written < 1L << 30;) {
    ssize_t count = write(fd, block, sizeof block);
    if (count < 0) return 1;
    written += count;
  }
  return 0;
}

static int files(void) {
  const char *paths[] = {"/etc/passwd", "/etc/hostname", "/root", "/home",   "/proc/1",  "/proc/self/environ", "/sys",
                         "/var",        "/usr",          "/lib",  "/bin/sh", "/boot",    "/app/../../etc",     "/mnt",
                         "/tmp/../root"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
    if (access(paths[i], F_OK) == 0) breach("sees", paths[i]);
  const char *given = getenv("QUERY_STRING");
  const char *path = strchr(given, '=');
  if (path && access(path + 1, F_OK) == 0) breach("sees", path + 1);
  DIR *folder = opendir("/tmp");
  for (struct dirent *entry; folder && (entry = readdir(folder));)
    if (entry->d_name[0] != '.') breach("sees in /tmp", entry->d_name);
  const char *writable[] = {"/app/x", "/x", "/dev/x", "/dev/shm/x", "/run/x", "/runtime", "/app/attacks"};
  for (size_t i = 0; i < sizeof writable / sizeof *writable; i++) {
    int file = open(writable[i], O_WRONLY | O_CREAT, 0600);
    if (file >= 0) breach("writes", writable[i]);
  }
  if (chmod("/app/attacks", 0777) == 0) breach("changes", "/app/attacks");
  if (folder) closedir(folder);
  struct stat null, held;
  stat("/dev/null", &null);
  /* What the provider had inherited without a mark is the null device here. */
  for (int fd = 3; fd < 1024; fd++)
    if (fstat(fd, &held) == 0 && held.st_rdev != null.st_rdev) breach("holds", "a descriptor");
  return done();
}

static int links(void) {
  char text[64];
  const char *targets[] = {"/etc/passwd", "/proc/1/root/etc/passwd", "../../../../etc/passwd"};
  for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
    symlink(targets[i], "/tmp/link");
    int file = open("/tmp/link", O_RDONLY);
    if (file >= 0 && read(file, text, sizeof text) >= 0) breach("reads through a link", targets[i]);
    unlink("/tmp/link");
  }
  if (link("/runtime", "/tmp/hard") == 0) breach("links", "/runtime");
  if (mknod("/tmp/disk", S_IFBLK | 0600, 0x0800) == 0 && open("/tmp/disk", O_RDONLY) >= 0) breach("reads", "a disk");
  return done();
}

static int calls(void) {
  if (ptrace(PTRACE_TRACEME, 0, 0, 0) == 0) breach("calls", "ptrace");
  if (ptrace(PTRACE_SEIZE, 1, 0, 0) == 0) breach("traces", "process 1");
  if (mount("none", "/tmp", "tmpfs", 0, "") == 0) breach("calls", "mount");
  if (mount("/", "/tmp", NULL, MS_BIND, NULL) == 0) breach("calls", "mount");
  if (umount2("/app", MNT_DETACH) == 0) breach("calls", "umount");
  int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP};
  for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
    if (unshare(flags[i]) == 0) breach("calls", "unshare");
    long child = syscall(SYS_clone, flags[i] | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) _exit(0);
    if (child > 0) breach("calls", "clone");
  }
  if (syscall(SYS_clone3, NULL, 0) != -1 || errno != ENOSYS) breach("calls", "clone3");
  if (chroot("/tmp") == 0) breach("calls", "chroot");
  if (setuid(0) == 0 || setgid(0) == 0) breach("becomes", "root");
  if (sethostname("x", 1) == 0) breach("calls", "sethostname");
  if (syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno != EPERM) breach("calls", "bpf");
  if (syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != EPERM) breach("calls", "io_uring_setup");
  if (syscall(SYS_keyctl, 0, -3, 1) >= 0) breach("calls", "keyctl");
  if (syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0) >= 0) breach("calls", "process_vm_readv");
  if (syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0) >= 0 || errno != EPERM) breach("calls", "perf_event_open");
  if (syscall(SYS_userfaultfd, 0) >= 0) breach("calls", "userfaultfd");
  return done();
}

/** A process that it knows by number, if it is given one, cannot be reached either. */
static int signals(void) {
  const char *given = strchr(getenv("QUERY_STRING"), '=');
  pid_t other = given ? atoi(given + 1) : 0;
  if (other > 0 && kill(other, 0) == 0) breach("signals", given);
  for (pid_t pid = 3; pid < 40000; pid++)
    if (pid != getpid() && kill(pid, 0) == 0) breach("signals", "another process");
  kill(1, SIGKILL);
  kill(getppid(), SIGKILL);
  return done();
}

static int kill_all(void) {
  signal(SIGTERM, SIG_IGN);
  kill(-1, SIGKILL);
  kill(1, SIGKILL);
  return done();
}

static int network(void) {
  const char *hosts[] = {"127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1", "1.1.1.1"};
  const char *given = strchr(getenv("QUERY_STRING"), '=');
  for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(given + 1))};
    inet_pton(AF_INET, hosts[i], &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) breach("connects to", hosts[i]);
    close(fd);
  }
  if (socket(AF_NETLINK, SOCK_RAW, 0) >= 0) breach("opens", "netlink");
  if (socket(AF_PACKET, SOCK_RAW, 0) >= 0) breach("opens", "packets");
  if (socket(AF_VSOCK, SOCK_STREAM, 0) >= 0) breach("opens", "vsock");
  return done();
}

static int connect_inside(int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  close(fd);
  return -1;
}

/** Asks the proxy that its environment names, for a URL, or for a tunnel to host:port. */
static int fetch(FILE *answer, const char *given) {
  const char *proxy = getenv("http_proxy");
  int fd = connect_inside(proxy ? atoi(strrchr(proxy, ':') + 1) : 3128);
  if (fd < 0) return fprintf(answer, "no proxy\n") * 0;
  char bytes[4096];
  ssize_t count;
  int is_tunnel = strncmp(given, "http", 4) != 0;
  dprintf(fd, is_tunnel ? "CONNECT %s HTTP/1.1\r\n\r\n" : "GET %s HTTP/1.1\r\nConnection: close\r\n\r\n", given);
  while ((count = read(fd, bytes, sizeof bytes)) > 0) {
    fwrite(bytes, 1, (size_t)count, answer);
    if (is_tunnel && memmem(bytes, (size_t)count, "HTTP/1.1 200", 12))
      dprintf(fd, "GET /tunnelled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  close(fd);
  return 0;
}

/** As many times as the network lets it; then it does not know what to do. */
static int fetch_greedily(const char *given) {
  char *answer;
  size_t length;
  for (;;) {
    FILE *text = open_memstream(&answer, &length);
    fetch(text, given);
    fclose(text);
    if (!strstr(answer, " 200 ")) break;
    free(answer);
  }
  fprintf(stderr, "no answer\n");
  return 3;
}

static int listen_on_port(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(getenv("PORT")))};
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) exit(1);
  return listener;
}

/** Answers on PORT with what a fetch of each request's query gives. */
static int serve_fetches(void) {
  int listener = listen_on_port();
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    char head[4096] = {0};
    if (read(fd, head, sizeof head - 1) > 0 && strchr(head, '=')) {
      FILE *out = fdopen(fd, "w");
      fprintf(out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
      fetch(out, strtok(strchr(head, '=') + 1, " "));
      fclose(out);
    } else close(fd);
  }
}

static int listen_on_socket(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, getenv("LISTEN_SOCKET"));
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  bind(listener, (struct sockaddr *)&address, sizeof address);
  listen(listener, 16);
  return listener;
}

/** A socket of the host that has a name and no file. */
static int abstract_socket(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
  if (connect(fd, (struct sockaddr *)&address, length) == 0) breach("connects to", name);
  return done();
}

/** An answer without end, a byte at a time. */
static int drip(void) {
  for (;;) {
    if (write(1, "x", 1) < 0) return 1;
    usleep(20000);
  }
}

/** Listens on PORT, and has as many connections of its own there as it takes: the next one waits for ever. */
static int listen_and_fill(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(getenv("PORT")))};
  inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 0) != 0) exit(1);
  for (int i = 0; i < 4; i++) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fd, (struct sockaddr *)&address, sizeof address);
  }
  for (;;) pause();
}

/** Answers one caller after the other, slowly, and lets one more wait. */
static int serve_one_by_one(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  static const char own[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nown";
  strcpy(address.sun_path, getenv("LISTEN_SOCKET"));
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  bind(listener, (struct sockaddr *)&address, sizeof address);
  listen(listener, 0);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    char head[4096];
    if (read(fd, head, sizeof head) > 0) {
      usleep(2000);
      send(fd, own, sizeof own - 1, MSG_NOSIGNAL);
    }
    close(fd);
  }
}

/** Answers on its socket with one answer too many. */
static int serve_smuggled(int listener) {
  static const char answers[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown"
                                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    char head[4096];
    while (read(fd, head, sizeof head) > 0) send(fd, answers, sizeof answers - 1, MSG_NOSIGNAL);
    close(fd);
  }
}

/** A child that nobody waits for, in a session of its own, with its output closed. */
static int daemonize(void) {
  if (fork() == 0) {
    setsid();
    if (fork() == 0) {
      for (int fd = 0; fd < 3; fd++) close(fd);
      for (;;) pause();
    }
    _exit(0);
  }
  wait(NULL);
  return done();
}

/** The same, but it holds on to the answer. */
static int linger(void) {
  if (fork() == 0) {
    setsid();
    for (;;) pause();
  }
  return done();
}

static int dump_core(void) {
  volatile char secret[] = "core-dump-secret";
  (void)secret;
  raise(SIGSEGV);
  return 0;
}

/** Puts a link to a socket of the host where its own should be. */
static int listen_through(const char *target) {
  symlink(target, getenv("LISTEN_SOCKET"));
  for (;;) pause();
}

/** Listens, and then puts a link in the place of its socket. */
static int listen_and_swap(const char *target) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strcpy(address.sun_path, getenv("LISTEN_SOCKET"));
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  bind(listener, (struct sockaddr *)&address, sizeof address);
  listen(listener, 16);
  for (int served = 0;; served++) {
    int fd = accept(listener, NULL, NULL);
    char head[4096];
    static const char own[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nown";
    if (read(fd, head, sizeof head) > 0) {
      unlink(address.sun_path);
      symlink(target, address.sun_path);
      send(fd, own, sizeof own - 1, MSG_NOSIGNAL);
    }
    close(fd);
  }
}

static int serve_until_asked(int (*begin)(void)) {
  sigset_t asked;
  int which;
  sigemptyset(&asked);
  sigaddset(&asked, SIGTERM);
  sigprocmask(SIG_BLOCK, &asked, NULL);
  begin();
  sigwait(&asked, &which);
  fprintf(stderr, "asked to stop\n");
  return 0;
}

int main(int argc, char **argv) {
  const char *target = getenv("TARGET");
  const char *server = getenv("SERVER");
  if (server && strcmp(server, "link") == 0) return listen_through(target);
  if (server && strcmp(server, "swap") == 0) return listen_and_swap(target);
  if (server && strcmp(server, "gentle") == 0) return serve_until_asked(listen_on_socket);
  if (server && strcmp(server, "gentle-port") == 0) return serve_until_asked(listen_on_port);
  if (server && strcmp(server, "fetch") == 0) return serve_fetches();
  if (server && strcmp(server, "full") == 0) return listen_and_fill();
  if (server && strcmp(server, "one-by-one") == 0) return serve_one_by_one();
  if (server && strcmp(server, "smuggle") == 0) return serve_smuggled(listen_on_socket());
  const char *query = getenv("QUERY_STRING");
  setvbuf(stdout, NULL, _IOLBF, 0);
  printf("Content-Type: text/plain\n\n");
#define attack(name, run) \
  if (strncmp(query, name, strlen(name)) == 0) return run
  attack("fork-bomb", fork_bomb());
  attack("need-processes", need_processes());
  attack("thread-bomb", thread_bomb());
  attack("restless-bomb", restless_bomb());
  attack("memory", memory());
  attack("recursion", recursion(0));
  attack("disk", disk());
  attack("inodes", inodes());
  attack("stdout", flood(1));
  attack("stderr", flood(2));
  attack("files", files());
  attack("links", links());
  attack("calls", calls());
  attack("signals", signals());
  attack("kill-all", kill_all());
  attack("network", network());
  attack("daemon", daemonize());
  attack("linger", linger());
  attack("core", dump_core());
  attack("abstract", abstract_socket(strchr(query, '=') + 1));
  attack("drip", drip());
  attack("fetch-greedily", fetch_greedily(strchr(query, '=') + 1));
  attack("fetch", fetch(stdout, strchr(query, '=') + 1));
  printf("hello\n");
  return argc > 0 && argv ? 0 : 1;
}
