/*
 * A WebSocket server that says what it hears, for `native` with "native": "http": it listens on $LISTEN_SOCKET and serves
 * every connection in one thread. Frames go back as they come, masked or not and cut or not as RFC 6455 wants it, so a
 * message of any length needs no more than the buffer of its connection.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  CONNECTIONS_MAX = 256,
  HEAD_BYTES_MAX = 16 * 1024,
  IN_BYTES = 32 * 1024,
  OUT_BYTES = 2 * IN_BYTES,
};

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };
/* CLOSING: the last bytes are on their way. DONE: they have gone, and the other end is to close. */
enum state { FREE, HANDSHAKE, OPEN, CLOSING, DONE };

struct connection {
  enum state state;
  int fd;
  unsigned char in[IN_BYTES], out[OUT_BYTES];
  size_t in_bytes, out_at, out_bytes;
  /* The rest of the frame whose payload goes by. */
  uint64_t payload_left;
  unsigned char mask[4];
  unsigned mask_at;
  /* Whether a message has begun and not ended. */
  int in_message;
};

static struct connection connections[CONNECTIONS_MAX];

/* SHA-1 (RFC 3174), which the handshake of RFC 6455 asks for. */
static void sha1(const unsigned char *data, size_t bytes, unsigned char digest[20]) {
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  unsigned char block[64];
  size_t blocks = (bytes + 8) / 64 + 1;
  for (size_t b = 0; b < blocks; b++) {
    memset(block, 0, sizeof block);
    size_t at = b * 64;
    if (at < bytes) memcpy(block, data + at, bytes - at < 64 ? bytes - at : 64);
    if (bytes >= at && bytes - at < 64) block[bytes - at] = 0x80;
    if (b == blocks - 1)
      for (int i = 0; i < 8; i++) block[56 + i] = (unsigned char)((uint64_t)bytes * 8 >> (56 - 8 * i));
    uint32_t w[80];
    for (int i = 0; i < 16; i++)
      w[i] = (uint32_t)block[4 * i] << 24 | block[4 * i + 1] << 16 | block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++) {
      uint32_t x = w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16];
      w[i] = x << 1 | x >> 31;
    }
    uint32_t a = h[0], bb = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
      uint32_t f, k;
      if (i < 20) f = (bb & c) | (~bb & d), k = 0x5a827999;
      else if (i < 40) f = bb ^ c ^ d, k = 0x6ed9eba1;
      else if (i < 60) f = (bb & c) | (bb & d) | (c & d), k = 0x8f1bbcdc;
      else f = bb ^ c ^ d, k = 0xca62c1d6;
      uint32_t next = (a << 5 | a >> 27) + f + e + k + w[i];
      e = d, d = c, c = bb << 30 | bb >> 2, bb = a, a = next;
    }
    h[0] += a, h[1] += bb, h[2] += c, h[3] += d, h[4] += e;
  }
  for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const unsigned char *data, size_t bytes, char *text) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes; i += 3) {
    uint32_t three = data[i] << 16 | (i + 1 < bytes ? data[i + 1] : 0) << 8 | (i + 2 < bytes ? data[i + 2] : 0);
    *text++ = digits[three >> 18];
    *text++ = digits[three >> 12 & 63];
    *text++ = i + 1 < bytes ? digits[three >> 6 & 63] : '=';
    *text++ = i + 2 < bytes ? digits[three & 63] : '=';
  }
  *text = 0;
}

static void end(struct connection *c) {
  close(c->fd);
  c->state = FREE;
}

static size_t room(const struct connection *c) { return OUT_BYTES - (c->out_bytes - c->out_at); }

static void put(struct connection *c, const void *data, size_t bytes) {
  if (c->out_at > 0) {
    memmove(c->out, c->out + c->out_at, c->out_bytes - c->out_at);
    c->out_bytes -= c->out_at;
    c->out_at = 0;
  }
  if (bytes > room(c)) return end(c); /* Never: callers look first. */
  memcpy(c->out + c->out_bytes, data, bytes);
  c->out_bytes += bytes;
}

/* A server's frames are not masked. */
static void put_frame_head(struct connection *c, int is_last, enum opcode opcode, uint64_t bytes) {
  unsigned char head[10] = {(unsigned char)((is_last ? 0x80 : 0) | opcode)};
  size_t head_bytes = 2;
  if (bytes < 126) head[1] = (unsigned char)bytes;
  else if (bytes < 65536) head[1] = 126, head_bytes = 4;
  else head[1] = 127, head_bytes = 10;
  for (size_t i = 2; i < head_bytes; i++) head[i] = (unsigned char)(bytes >> 8 * (head_bytes - 1 - i));
  put(c, head, head_bytes);
}

static void say_goodbye(struct connection *c, unsigned code) {
  unsigned char payload[2] = {(unsigned char)(code >> 8), (unsigned char)code};
  put_frame_head(c, 1, CLOSE, sizeof payload);
  put(c, payload, sizeof payload);
  c->state = CLOSING;
}

static void answer(struct connection *c, const char *status, const char *more, const char *body) {
  char text[512];
  int bytes = snprintf(text, sizeof text,
                       "HTTP/1.1 %s\r\n%scontent-type: text/plain\r\ncontent-length: %zu\r\nconnection: close\r\n\r\n%s",
                       status, more, strlen(body), body);
  put(c, text, (size_t)bytes);
  c->state = CLOSING;
}

/* The value of a header, cut off at its end; `head` is the whole head with its empty line. */
static int find_header(const char *head, const char *name, char *value, size_t value_bytes) {
  size_t name_bytes = strlen(name);
  for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n")) {
    const char *at = line + 2;
    if (strncasecmp(at, name, name_bytes) != 0 || at[name_bytes] != ':') continue;
    at += name_bytes + 1;
    at += strspn(at, " \t");
    size_t bytes = strcspn(at, "\r");
    while (bytes > 0 && (at[bytes - 1] == ' ' || at[bytes - 1] == '\t')) bytes--;
    if (bytes >= value_bytes) return 0;
    memcpy(value, at, bytes);
    value[bytes] = 0;
    return 1;
  }
  return 0;
}

/* Takes `bytes` off the beginning of what has come in. */
static void take(struct connection *c, size_t bytes) {
  c->in_bytes -= bytes;
  memmove(c->in, c->in + bytes, c->in_bytes);
}

/* Returns whether it may be called again at once. */
static int shake_hands(struct connection *c) {
  unsigned char *blank = memmem(c->in, c->in_bytes, "\r\n\r\n", 4);
  if (!blank) {
    if (c->in_bytes >= HEAD_BYTES_MAX) answer(c, "431 Too Large", "", "The head is too large.\n");
    return 0;
  }
  char head[HEAD_BYTES_MAX + 5], upgrade[32], version[8], key[64];
  size_t head_bytes = (size_t)(blank - c->in) + 4;
  if (head_bytes > HEAD_BYTES_MAX) return answer(c, "431 Too Large", "", "The head is too large.\n"), 0;
  memcpy(head, c->in, head_bytes);
  head[head_bytes] = 0;
  take(c, head_bytes);
  if (strncmp(head, "GET ", 4) != 0) {
    answer(c, "405 Method Not Allowed", "allow: GET\r\n", "Connect with a WebSocket.\n");
    return 0;
  }
  if (!find_header(head, "upgrade", upgrade, sizeof upgrade) || strcasecmp(upgrade, "websocket") != 0) {
    answer(c, "426 Upgrade Required", "upgrade: websocket\r\n", "Connect with a WebSocket: what you say is said back.\n");
    return 0;
  }
  if (!find_header(head, "sec-websocket-version", version, sizeof version) || strcmp(version, "13") != 0) {
    answer(c, "426 Upgrade Required", "sec-websocket-version: 13\r\n", "Version 13 is the one.\n");
    return 0;
  }
  if (!find_header(head, "sec-websocket-key", key, sizeof key) || strlen(key) != 24) {
    answer(c, "400 Bad Request", "", "There is no Sec-WebSocket-Key of 16 bytes.\n");
    return 0;
  }
  char text[256], accept[32];
  unsigned char digest[20];
  int bytes = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  sha1((unsigned char *)text, (size_t)bytes, digest);
  base64(digest, sizeof digest, accept);
  bytes = snprintf(text, sizeof text,
                   "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                   "sec-websocket-accept: %s\r\n\r\n",
                   accept);
  put(c, text, (size_t)bytes);
  c->state = OPEN;
  return 1;
}

/* Returns whether it may be called again at once. */
static int echo_payload(struct connection *c) {
  uint64_t bytes = c->payload_left;
  if (bytes > c->in_bytes) bytes = c->in_bytes;
  if (bytes > room(c)) bytes = room(c);
  if (bytes == 0) return 0;
  for (uint64_t i = 0; i < bytes; i++) c->in[i] ^= c->mask[c->mask_at++ & 3];
  put(c, c->in, bytes);
  take(c, bytes);
  c->payload_left -= bytes;
  return 1;
}

/* Returns whether it may be called again at once. */
static int read_frame(struct connection *c) {
  if (c->in_bytes < 2) return 0;
  int is_last = c->in[0] >> 7, opcode = c->in[0] & 15, is_control = opcode & 8;
  size_t length = c->in[1] & 127;
  size_t head_bytes = 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
  if (c->in[0] & 0x70 || !(c->in[1] & 0x80)) return say_goodbye(c, 1002), 0;
  if (is_control ? opcode > PONG || !is_last || length > 125 : opcode > BINARY) return say_goodbye(c, 1002), 0;
  if (!is_control && (opcode == CONTINUATION) != c->in_message) return say_goodbye(c, 1002), 0;
  if (c->in_bytes < head_bytes) return 0;
  uint64_t bytes = length < 126 ? length : 0;
  for (size_t i = 2; i < head_bytes - 4; i++) bytes = bytes << 8 | c->in[i];
  if (bytes >> 63) return say_goodbye(c, 1002), 0;
  if (is_control) {
    /* Whole, and never in the middle of another frame. */
    if (c->in_bytes < head_bytes + bytes || room(c) < 256) return 0;
    unsigned char *payload = c->in + head_bytes, *mask = payload - 4;
    for (size_t i = 0; i < bytes; i++) payload[i] ^= mask[i & 3];
    if (opcode != PONG) {
      put_frame_head(c, 1, opcode == PING ? PONG : CLOSE, bytes);
      put(c, payload, bytes);
    }
    take(c, head_bytes + bytes);
    if (opcode == CLOSE) c->state = CLOSING;
    return opcode != CLOSE;
  }
  if (room(c) < 16) return 0;
  memcpy(c->mask, c->in + head_bytes - 4, 4);
  c->mask_at = 0;
  c->payload_left = bytes;
  c->in_message = !is_last;
  put_frame_head(c, is_last, (enum opcode)opcode, bytes);
  take(c, head_bytes);
  return 1;
}

static void work(struct connection *c) {
  int goes_on = 1;
  while (goes_on) {
    if (c->state == HANDSHAKE) goes_on = shake_hands(c);
    else if (c->state != OPEN) goes_on = 0;
    else goes_on = c->payload_left > 0 ? echo_payload(c) : read_frame(c);
  }
}

static void on_readable(struct connection *c) {
  if (c->state == DONE) c->in_bytes = 0;
  ssize_t bytes = read(c->fd, c->in + c->in_bytes, IN_BYTES - c->in_bytes);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (bytes <= 0) return end(c);
  c->in_bytes += (size_t)bytes;
  work(c);
}

static void on_writable(struct connection *c) {
  ssize_t bytes = write(c->fd, c->out + c->out_at, c->out_bytes - c->out_at);
  if (bytes < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (bytes < 0) return end(c);
  c->out_at += (size_t)bytes;
  if (c->out_at == c->out_bytes) c->out_at = c->out_bytes = 0;
  if (c->state == CLOSING && c->out_bytes == 0) {
    /* Closing with bytes unread would be a reset, which may overtake what was sent. */
    shutdown(c->fd, SHUT_WR);
    c->state = DONE;
  }
  /* There is room for what had to wait. */
  work(c);
}

static void accept_one(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return;
  for (int i = 0; i < CONNECTIONS_MAX; i++) {
    if (connections[i].state != FREE) continue;
    struct connection *c = &connections[i];
    c->in_bytes = c->out_at = c->out_bytes = 0;
    c->payload_left = 0;
    c->in_message = 0;
    c->fd = fd;
    c->state = HANDSHAKE;
    return;
  }
  close(fd);
}

static int listen_at(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!path || strlen(path) >= sizeof address.sun_path) return -1;
  strcpy(address.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 128) != 0) return -1;
  return fd;
}

int main(void) {
  signal(SIGPIPE, SIG_IGN);
  int listener = listen_at(getenv("LISTEN_SOCKET"));
  if (listener < 0) return perror("LISTEN_SOCKET"), 1;
  static struct pollfd polls[CONNECTIONS_MAX + 1];
  static struct connection *polled[CONNECTIONS_MAX + 1];
  for (;;) {
    nfds_t count = 0;
    polls[count++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
      struct connection *c = &connections[i];
      if (c->state == FREE) continue;
      short events = 0;
      /* Whoever does not read what it gets back is not heard any further. */
      if (c->state != CLOSING && c->in_bytes < IN_BYTES) events |= POLLIN;
      if (c->out_bytes > c->out_at || c->state == CLOSING) events |= POLLOUT;
      polled[count] = c;
      polls[count++] = (struct pollfd){.fd = c->fd, .events = events};
    }
    if (poll(polls, count, -1) < 0 && errno != EINTR) return perror("poll"), 1;
    for (nfds_t i = 1; i < count; i++) {
      struct connection *c = polled[i];
      if (polls[i].revents & POLLOUT) on_writable(c);
      if (c->state != FREE && polls[i].revents & (POLLIN | POLLHUP | POLLERR)) {
        if (polls[i].revents & POLLIN) on_readable(c);
        else end(c);
      }
    }
    if (polls[0].revents & POLLIN) accept_one(listener);
  }
}
