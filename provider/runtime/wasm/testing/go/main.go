package main

import (
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"
)

func main() {
	body, _ := io.ReadAll(os.Stdin)
	file, err := os.ReadFile("/data/hello.txt")
	if err != nil {
		panic(err)
	}
	moment := strconv.FormatInt(time.Now().UnixMilli(), 10)
	os.Stdout.WriteString("Content-Type: text/plain\r\n\r\n" + os.Getenv("REQUEST_METHOD") + " " +
		string(body) + " " + string(file) + " " + moment + " " + strconv.FormatUint(rand.Uint64(), 36) + "\n")
}
