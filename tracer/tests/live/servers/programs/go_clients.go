// go-clients TIMES: HTTP clients with one time limit each. Says when HTTP/2 has been answered.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

func main() {
	times, _ := strconv.Atoi(os.Args[1])
	var answered sync.WaitGroup
	answered.Add(times)
	for i := 0; i < times; i++ {
		go get("http://127.0.0.1:9001/", &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{}})
		go get("http://127.0.0.1:9002/", &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 2500 * time.Millisecond}})
		go get("http://127.0.0.1:9003/", &http.Client{Transport: &http.Transport{IdleConnTimeout: 2 * time.Second}})
		dialer := &net.Dialer{Timeout: 2 * time.Second}
		go get("http://127.0.0.1:9004/", &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}})
		go func() {
			get("http://127.0.0.1:8006/", &http.Client{Transport: &http2.Transport{
				AllowHTTP:       true,
				DialTLS:         func(network, address string, _ *tls.Config) (net.Conn, error) { return net.Dial(network, address) },
				ReadIdleTimeout: time.Second,
				PingTimeout:     2 * time.Second,
			}})
			answered.Done()
		}()
	}
	answered.Wait()
	fmt.Println("answered")
	time.Sleep(time.Minute)
}

func get(url string, client *http.Client) {
	response, err := client.Get(url)
	if err != nil {
		return
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
}
