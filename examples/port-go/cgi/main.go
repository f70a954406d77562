// cgi lets sample answer HTTP: ?num=600 becomes its argument, what it prints the body. A 400 tells what it complained of.
package main

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
)

func main() {
	query, _ := url.ParseQuery(os.Getenv("QUERY_STRING"))
	command := exec.Command("/app/bin/sample", query.Get("num"))
	output, err := command.Output()
	if refused, ok := err.(*exec.ExitError); ok && refused.ExitCode() == 2 {
		fmt.Printf("Status: 400\nContent-Type: text/plain\n\n%s", refused.Stderr)
	} else if err != nil {
		panic(err)
	} else {
		fmt.Printf("Content-Type: application/json\n\n%s", output)
	}
}
