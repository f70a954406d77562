/*
 * Answers SQL over orders.sqlite, a file of its own zip, as JSON. A WASI command in the CGI way, built by build.sh with
 * SQLite itself (https://sqlite.org, public domain). Nothing can be written: the files of a program never can.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite3.h"

enum { sql_bytes_max = 16 << 10, rows_max = 10000 };

static void print_string(const unsigned char *text, int length) {
  putchar('"');
  for (int i = 0; i < length; i++) {
    unsigned char c = text[i];
    if (c == '"' || c == '\\') printf("\\%c", c);
    else if (c < 0x20) printf("\\u%04x", c);
    else putchar(c);
  }
  putchar('"');
}

static void print_value(sqlite3_stmt *statement, int column) {
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL:
      printf("null");
      return;
    case SQLITE_INTEGER: {
      /* JSON's readers keep 53 bits. */
      long long value = sqlite3_column_int64(statement, column);
      int is_exact = value >= -9007199254740991 && value <= 9007199254740991;
      printf(is_exact ? "%lld" : "\"%lld\"", value);
      return;
    }
    case SQLITE_FLOAT: {
      double value = sqlite3_column_double(statement, column);
      if (isfinite(value)) printf("%.15g", value);
      else printf("null");
      return;
    }
    case SQLITE_BLOB: {
      const unsigned char *bytes = sqlite3_column_blob(statement, column);
      putchar('"');
      for (int i = 0; i < sqlite3_column_bytes(statement, column); i++) printf("%02x", bytes[i]);
      putchar('"');
      return;
    }
    default: {
      const unsigned char *text = sqlite3_column_text(statement, column);
      print_string(text, sqlite3_column_bytes(statement, column));
    }
  }
}

static int refuse(int status, const char *error, const char *hint) {
  printf("Status: %d\nContent-Type: application/json\n\n{\"error\":", status);
  print_string((const unsigned char *)error, (int)strlen(error));
  printf(",\"hint\":\"%s\"}\n", hint);
  return 0;
}

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads ?sql=… into `target`. Returns its length, or -1 where it is absent or too long. */
static int read_query(char *target) {
  const char *at = getenv("QUERY_STRING");
  at = at && strncmp(at, "sql=", 4) == 0 ? at + 4 : NULL;
  if (!at) return -1;
  int length = 0;
  for (; *at && *at != '&'; at++) {
    if (length == sql_bytes_max) return -1;
    int is_escape = *at == '%' && hex(at[1]) >= 0 && hex(at[2]) >= 0;
    target[length++] = (char)(is_escape ? hex(at[1]) << 4 | hex(at[2]) : *at == '+' ? ' ' : *at);
    if (is_escape) at += 2;
  }
  return length;
}

static int answer(sqlite3_stmt *statement) {
  int state = sqlite3_step(statement);
  if (state != SQLITE_ROW && state != SQLITE_DONE)
    return refuse(400, sqlite3_errmsg(sqlite3_db_handle(statement)), "The tables are in sqlite_schema.");
  printf("Content-Type: application/json\n\n{\"columns\":[");
  int columns = sqlite3_column_count(statement);
  for (int i = 0; i < columns; i++) {
    const char *name = sqlite3_column_name(statement, i);
    if (i) putchar(',');
    print_string((const unsigned char *)name, (int)strlen(name));
  }
  printf("],\"rows\":[");
  int rows = 0;
  for (; state == SQLITE_ROW && rows < rows_max; rows++, state = sqlite3_step(statement)) {
    printf(rows ? ",\n[" : "\n[");
    for (int i = 0; i < columns; i++) {
      if (i) putchar(',');
      print_value(statement, i);
    }
    putchar(']');
  }
  if (state != SQLITE_ROW && state != SQLITE_DONE) {
    fprintf(stderr, "%s\n", sqlite3_errmsg(sqlite3_db_handle(statement)));
    return 1;
  }
  printf("],\"isWhole\":%s}\n", state == SQLITE_DONE ? "true" : "false");
  return 0;
}

int main(void) {
  static char sql[sql_bytes_max + 1];
  const char *method = getenv("REQUEST_METHOD");
  int is_post = method && strcmp(method, "POST") == 0;
  int length = is_post ? (int)fread(sql, 1, sizeof sql, stdin) : read_query(sql);
  if (length <= 0 || length > sql_bytes_max)
    return refuse(400, "There is no SQL, or more than 16 KiB of it.", "Send it as the body of a POST, or as ?sql=...");

  sqlite3 *db;
  if (sqlite3_open_v2("file:/orders.sqlite?immutable=1", &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, NULL) != SQLITE_OK) {
    fprintf(stderr, "orders.sqlite cannot be opened: %s\n", sqlite3_errmsg(db));
    return 1;
  }
  sqlite3_stmt *statement;
  const char *rest;
  if (sqlite3_prepare_v2(db, sql, length, &statement, &rest) != SQLITE_OK)
    return refuse(400, sqlite3_errmsg(db), "The tables are in sqlite_schema.");
  while (rest < sql + length && strchr(" \t\r\n;", *rest)) rest++;
  if (!statement || rest < sql + length) return refuse(400, "It is not one statement.", "Send one SELECT.");
  return answer(statement);
}
