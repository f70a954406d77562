// sample knows nothing of HTTP: a number comes as its argument, JSON goes to its standard output.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

type answer struct {
	Num     uint64   `json:"num"`
	Factors []uint64 `json:"factors"`
}

func factorise(num uint64) []uint64 {
	factors := []uint64{}
	for factor := uint64(2); factor <= num/factor; factor++ {
		for num%factor == 0 {
			factors = append(factors, factor)
			num /= factor
		}
	}
	if num > 1 {
		factors = append(factors, num)
	}
	return factors
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sample <num>")
		os.Exit(2)
	}
	num, err := strconv.ParseUint(os.Args[1], 10, 64)
	if err != nil || num < 2 {
		fmt.Fprintln(os.Stderr, "num must be a whole number of 2 or more")
		os.Exit(2)
	}
	json.NewEncoder(os.Stdout).Encode(answer{num, factorise(num)})
}
