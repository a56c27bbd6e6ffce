// Load on etcd by its own client library, over one connection: COUNT puts or gets by CLIENTS callers at once, each of which
// waits for its answer. Prints operations a second and p50, p99, p99.9 in milliseconds.
package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
)

func main() {
	endpoint, verb := os.Args[1], os.Args[2]
	callers, _ := strconv.Atoi(os.Args[3])
	count, _ := strconv.Atoi(os.Args[4])
	keys, _ := strconv.Atoi(os.Args[5])
	size, _ := strconv.Atoi(os.Args[6])
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	value := strings.Repeat("x", size)
	took := make([]time.Duration, count)
	var group sync.WaitGroup
	begun := time.Now()
	for caller := 0; caller < callers; caller++ {
		group.Add(1)
		go func(caller int) {
			defer group.Done()
			random := rand.New(rand.NewSource(int64(caller)))
			for nth := caller; nth < count; nth += callers {
				key := fmt.Sprintf("key:%012d", random.Intn(keys))
				start := time.Now()
				var err error
				if verb == "put" {
					_, err = client.Put(context.Background(), key, value)
				} else {
					_, err = client.Get(context.Background(), key)
				}
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				took[nth] = time.Since(start)
			}
		}(caller)
	}
	group.Wait()
	seconds := time.Since(begun).Seconds()
	sort.Slice(took, func(one, other int) bool { return took[one] < took[other] })
	at := func(permille int) float64 { return took[(count-1)*permille/1000].Seconds() * 1000 }
	fmt.Printf("%.0f %.3f %.3f %.3f\n", float64(count)/seconds, at(500), at(990), at(999))
}
