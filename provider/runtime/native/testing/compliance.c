/*
 * The programs of the runtime's compliance suite (../../compliance.ts) as one binary: its file's name says which one
 * it is. In the CGI way it is what the wasm runtime is examined with; where LISTEN_SOCKET is set, it is a server, on
 * that socket or, from a folder `port`, on PORT.
 */
#define main cgi_main
#include "../../wasm/testing/compliance.c"
#undef main

#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

static const char *program;

typedef struct {
  int fd;
  char head[40000];
  size_t headed, length; /* What has been read, and where the body begins. */
  char method[16], target[17000], seen[4000];
  int chunked, open;
  long left; /* Of the body, or of the current chunk. */
} request;

static void send_all(int fd, const char *bytes, size_t count) {
  while (count > 0) {
    ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);
    if (sent <= 0) pthread_exit(NULL);
    bytes += sent;
    count -= (size_t)sent;
  }
}

static void send_text(int fd, const char *format, ...) {
  char text[40000];
  va_list values;
  va_start(values, format);
  int count = vsnprintf(text, sizeof text, format, values);
  va_end(values);
  send_all(fd, text, (size_t)count);
}

static int read_head(request *r) {
  for (;;) {
    char *end = memmem(r->head, r->headed, "\r\n\r\n", 4);
    if (end) {
      r->length = (size_t)(end - r->head) + 4;
      break;
    }
    ssize_t count = recv(r->fd, r->head + r->headed, sizeof r->head - r->headed, 0);
    if (count <= 0) return 0;
    r->headed += (size_t)count;
  }
  r->head[r->length - 2] = 0;
  sscanf(r->head, "%15s %16999s", r->method, r->target);
  for (char *line = strstr(r->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
    char *text = line + 2;
    if (strncasecmp(text, "content-length:", 15) == 0) r->left = atol(text + 15);
    if (strncasecmp(text, "transfer-encoding:", 18) == 0) r->chunked = 1;
    if (strncasecmp(text, "x-test: ", 8) == 0) {
      if (r->seen[0]) strcat(r->seen, ", ");
      strncat(r->seen, text + 8, strcspn(text + 8, "\r"));
    }
  }
  r->open = r->chunked || r->left > 0;
  return 1;
}

static size_t receive(request *r, char *bytes, size_t max) {
  if (r->headed > r->length) {
    size_t count = r->headed - r->length < max ? r->headed - r->length : max;
    memcpy(bytes, r->head + r->length, count);
    r->length += count;
    return count;
  }
  ssize_t count = recv(r->fd, bytes, max, 0);
  if (count <= 0) pthread_exit(NULL);
  return (size_t)count;
}

static void read_line(request *r, char *line, size_t max) {
  size_t at = 0;
  while (at < max - 1 && receive(r, line + at, 1) && line[at] != '\n') at++;
  line[at] = 0;
}

static size_t read_body(request *r, char *bytes, size_t max) {
  char line[64];
  if (!r->open) return 0;
  if (r->chunked && r->left == 0) {
    read_line(r, line, sizeof line);
    r->left = strtol(line, NULL, 16);
    if (r->left == 0) {
      read_line(r, line, sizeof line);
      r->open = 0;
      return 0;
    }
  }
  size_t count = receive(r, bytes, (size_t)r->left < max ? (size_t)r->left : max);
  r->left -= (long)count;
  if (r->left == 0 && r->chunked) read_line(r, line, sizeof line);
  else if (r->left == 0) r->open = 0;
  return count;
}

static long asked(request *r, const char *name, long otherwise) {
  const char *found = strstr(r->target, name);
  return found ? atol(found + strlen(name) + 1) : otherwise;
}

static void send_json(int fd, const char *text) {
  for (send_all(fd, "\"", 1); *text; text++) {
    if (*text == '"' || *text == '\\') send_text(fd, "\\%c", *text);
    else if (*text == '\n') send_text(fd, "\\n");
    else send_all(fd, text, 1);
  }
  send_all(fd, "\"", 1);
}

static void answer_request(request *r) {
  static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
  char bytes[65536];
  size_t count;
  if (strcmp(program, "echo") == 0) {
    long status = asked(r, "status", 200);
    send_text(r->fd, "HTTP/1.1 %ld So\r\nConnection: close\r\nX-Method: %s\r\nX-Target: %s\r\nX-Seen: %s\r\n",
              status, r->method, r->target, r->seen);
    send_text(r->fd, "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n");
    while ((count = read_body(r, bytes, sizeof bytes)) > 0)
      if (status != 204 && status != 304) send_all(r->fd, bytes, count);
  } else if (strcmp(program, "bytes") == 0) {
    long size = asked(r, "size", 0), at = 0;
    send_text(r->fd, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %ld\r\n\r\n", size);
    while (at < size && strcmp(r->method, "HEAD") != 0) {
      for (count = 0; count < sizeof bytes && at < size;) bytes[count++] = (char)(at++ % 251);
      send_all(r->fd, bytes, count);
    }
  } else if (strcmp(program, "count") == 0) {
    long size = 0;
    while ((count = read_body(r, bytes, sizeof bytes)) > 0) size += (long)count;
    send_text(r->fd, "%s%ld", head, size);
  } else if (strcmp(program, "settings") == 0) {
    send_text(r->fd, "%s{\"secret\":", head);
    send_json(r->fd, variable("SECRET"));
    send_text(r->fd, ",\"params\":%s}", variable("KHACHAPURI_PARAMS"));
  } else if (strcmp(program, "endless") == 0) {
    send_text(r->fd, "%s", head);
    for (;;) send_all(r->fd, buffer, sizeof buffer);
  } else if (strcmp(program, "loop") == 0) loop();
  else if (strcmp(program, "hog") == 0) hog();
  else exit(crash());
}

static void *serve(void *given) {
  request *r = given;
  if (read_head(r)) answer_request(r);
  shutdown(r->fd, SHUT_RDWR);
  close(r->fd);
  free(r);
  return NULL;
}

static int bind_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  return bind(listener, (struct sockaddr *)&address, sizeof address) == 0 ? listener : -1;
}

static int bind_port(const char *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  return bind(listener, (struct sockaddr *)&address, sizeof address) == 0 ? listener : -1;
}

static int serve_on(int listener) {
  if (listener < 0) return 5;
  if (listen(listener, 128) != 0) return 6;
  for (;;) {
    request *r = calloc(1, sizeof *r);
    r->fd = accept(listener, NULL, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, r) != 0) return 7;
    pthread_detach(thread);
  }
}

int main(int argc, char **argv) {
  int by_port = strstr(argv[0], "/port/") != NULL;
  char *slash = strrchr(argv[0], '/');
  argv[0] = slash ? slash + 1 : argv[0];
  program = argv[0];
  const char *path = getenv("LISTEN_SOCKET");
  if (!path) return cgi_main(argc, argv);
  return serve_on(by_port ? bind_port(getenv("PORT")) : bind_socket(path));
}
