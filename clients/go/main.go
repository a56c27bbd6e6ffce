// go-redis against a cell: the version that Debian packages, which needs no module from elsewhere.
package main

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"time"

	"gopkg.in/redis.v5"
)

var passed, failed int

func check(name string, holds bool, found ...interface{}) {
	if holds {
		passed++
		return
	}
	failed++
	fmt.Println("FAILED", name, found)
}

func main() {
	var clients []*redis.Client
	for _, address := range os.Args[1:] {
		clients = append(clients, redis.NewClient(&redis.Options{Addr: address}))
	}
	a, b, c := clients[0], clients[1], clients[2]
	check("flush", a.FlushDb().Err() == nil)

	check("set", a.Set("k", "1", 0).Err() == nil)
	for _, client := range clients {
		check("a write at one server is read at every other", client.Get("k").Val() == "1")
	}
	_, err := a.Get("nothing").Result()
	check("an absent key is redis.Nil", err == redis.Nil, err)

	check("SETNX with a time", a.SetNX("lock", "me", time.Minute).Val())
	check("SETNX of a key that is there", !b.SetNX("lock", "you", time.Minute).Val())
	check("TTL", c.TTL("lock").Val() > 50*time.Second)
	check("INCRBY", a.IncrBy("n", 41).Val() == 41 && b.Incr("n").Val() == 42)
	check("HSET, HGETALL", a.HSet("h", "f", "v").Val() && b.HGetAll("h").Val()["f"] == "v")

	answers, err := a.Pipelined(func(pipe *redis.Pipeline) error {
		for nth := 0; nth < 300; nth++ {
			pipe.Incr("p")
		}
		return nil
	})
	last := answers[len(answers)-1].(*redis.IntCmd).Val()
	check("a pipeline is answered in order", err == nil && last == 300, err, last)

	err = a.Watch(func(tx *redis.Tx) error {
		check("another writes the watched key", b.Set("k", "other", 0).Err() == nil)
		_, err := tx.Pipelined(func(pipe *redis.Pipeline) error {
			pipe.Set("k", "mine", 0)
			return nil
		})
		return err
	}, "k")
	check("WATCH sees the change", err == redis.TxFailedErr && c.Get("k").Val() == "other", err)

	script := redis.NewScript("return redis.call('SET', KEYS[1], ARGV[1], 'GET')")
	check("a script", script.Run(a, []string{"k"}, "new").Val() == "other")
	check("a script that another server does not know", script.Run(b, []string{"k"}, "newer").Val() == "new")

	wanted := map[string]bool{}
	for nth := 0; nth < 50; nth++ {
		key := fmt.Sprintf("scan:%d", nth)
		wanted[key] = true
		a.Set(key, "x", 0)
	}
	scan := b.Scan(0, "scan:*", 10).Iterator()
	for scan.Next() {
		delete(wanted, scan.Val())
	}
	check("a scan sees every key", scan.Err() == nil && len(wanted) == 0, scan.Err(), wanted)

	subscriber, err := a.Subscribe("news")
	check("SUBSCRIBE", err == nil, err)
	for a.Publish("news", "hello").Val() == 0 {
	}
	message, err := subscriber.ReceiveMessage()
	check("a message", err == nil && message.Payload == "hello", err)

	err = a.LPush("l", "x").Err()
	check("what is missing is refused by name", err != nil && strings.Contains(err.Error(), "lists"), err)

	keys := a.Keys("scan:1?").Val()
	sort.Strings(keys)
	check("KEYS", len(keys) == 10, keys)

	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
