/*
 * Makes a picture small: PNG, JPEG, GIF or BMP in, PNG or JPEG out. A WASI command in the CGI way, built by build.sh;
 * decoding, resizing and encoding are the stb libraries' (https://github.com/nothings/stb, public domain).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STBI_NO_STDIO
#define STBI_NO_THREAD_LOCALS
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_GIF
#define STBI_ONLY_BMP
#define STBI_MAX_DIMENSIONS 8192
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb/stb_image_resize.h>
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>

enum { body_bytes_max = 8 << 20, pixels_max = 6 << 20, width_max = 2048, width_default = 128, quality = 85 };

static int refuse(int status, const char *error, const char *field, const char *hint) {
  printf("Status: %d\nContent-Type: application/json\n\n{\"error\":\"%s\"", status, error);
  if (field) printf(",\"field\":\"%s\"", field);
  printf(",\"hint\":\"%s\"}\n", hint);
  return 0;
}

/* Finds a parameter of the query. Returns its value, up to the next "&", or NULL. */
static const char *query(const char *name, size_t *length) {
  const char *at = getenv("QUERY_STRING");
  size_t name_length = strlen(name);
  while (at && *at) {
    size_t part = strcspn(at, "&");
    if (part > name_length && at[name_length] == '=' && strncmp(at, name, name_length) == 0) {
      *length = part - name_length - 1;
      return at + name_length + 1;
    }
    at += part + (at[part] == '&');
  }
  return NULL;
}

/* Reads the whole request. Returns its size, or -1 where it is too long. */
static long read_body(unsigned char *target) {
  size_t size = fread(target, 1, body_bytes_max + 1, stdin);
  return size > body_bytes_max ? -1 : (long)size;
}

static void write_bytes(void *context, void *bytes, int size) {
  (void)context;
  fwrite(bytes, 1, (size_t)size, stdout);
}

static int usage(void) {
  printf("Content-Type: text/plain; charset=utf-8\n\n"
         "POST a PNG, JPEG, GIF or BMP of up to %d MiB; ?width=1..%d (%d), ?format=png|jpeg (png).\n"
         "curl --data-binary @photo.jpg '<this URL>?width=200' -o small.png\n",
         body_bytes_max >> 20, width_max, width_default);
  return 0;
}

int main(void) {
  const char *method = getenv("REQUEST_METHOD");
  if (method && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)) return usage();
  if (!method || strcmp(method, "POST") != 0)
    return refuse(405, "Only POST and GET are answered.", NULL, "POST a picture.");

  size_t length;
  long width = width_default;
  const char *given = query("width", &length);
  if (given) {
    char *end;
    width = strtol(given, &end, 10);
    if (length == 0 || length > 4 || end != given + length || width < 1 || width > width_max)
      return refuse(400, "\\\"width\\\" is not a whole number from 1 to 2048.", "width", "Try ?width=200.");
  }
  given = query("format", &length);
  int is_jpeg = given && length == 4 && strncmp(given, "jpeg", 4) == 0;
  if (given && !is_jpeg && !(length == 3 && strncmp(given, "png", 3) == 0))
    return refuse(400, "\\\"format\\\" is neither png nor jpeg.", "format", "Try ?format=jpeg.");

  unsigned char *body = malloc(body_bytes_max + 1);
  long size = body ? read_body(body) : 0;
  if (size < 0) return refuse(413, "The picture has more than 8 MiB.", NULL, "Send a smaller one.");

  /* A picture can say that it is larger than its bytes: ask before anything is unpacked. */
  int columns, rows, channels;
  if (!stbi_info_from_memory(body, (int)size, &columns, &rows, &channels))
    return refuse(422, "The body is no PNG, JPEG, GIF or BMP.", NULL, "Send one with --data-binary @file.");
  if ((long long)columns * rows > pixels_max)
    return refuse(413, "The picture has more than 6 million pixels.", NULL, "Send a smaller one.");
  channels = channels == 2 || channels == 4 ? 4 : 3;
  unsigned char *picture = stbi_load_from_memory(body, (int)size, &columns, &rows, NULL, channels);
  if (!picture) return refuse(422, "The picture is damaged.", NULL, "Send it whole.");
  free(body);

  if (width > columns) width = columns;
  int height = (int)(((long long)rows * width + columns / 2) / columns);
  if (height < 1) height = 1;
  unsigned char *small = malloc((size_t)width * (size_t)height * (size_t)channels);
  if (!small || !stbir_resize_uint8_srgb(picture, columns, rows, 0, small, (int)width, height, 0, channels,
                                         channels == 4 ? 3 : STBIR_ALPHA_CHANNEL_NONE, 0)) {
    fprintf(stderr, "no memory for %ld x %d pixels\n", width, height);
    return 1;
  }
  printf("Content-Type: image/%s\nX-Size: %ldx%d\n\n", is_jpeg ? "jpeg" : "png", width, height);
  if (is_jpeg) stbi_write_jpg_to_func(write_bytes, NULL, (int)width, height, channels, small, quality);
  else stbi_write_png_to_func(write_bytes, NULL, (int)width, height, channels, small, 0);
  return 0;
}
