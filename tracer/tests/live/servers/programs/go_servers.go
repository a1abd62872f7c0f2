// HTTP servers with one time limit each, on ports of loopback.
package main

import (
	"io"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/http2"
)

func main() {
	prompt := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ok")
	}
	slow := func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(3 * time.Second)
		io.WriteString(w, "ok")
	}
	serve := func(address string, server *http.Server, handler http.HandlerFunc) {
		server.Handler = handler
		go server.Serve(listen(address))
	}
	serve("127.0.0.1:8001", &http.Server{ReadTimeout: 2 * time.Second}, prompt)
	serve("127.0.0.1:8002", &http.Server{ReadTimeout: 2 * time.Second}, prompt)
	serve("127.0.0.1:8003", &http.Server{ReadHeaderTimeout: 2 * time.Second}, prompt)
	serve("127.0.0.1:8004", &http.Server{WriteTimeout: 2 * time.Second}, slow)
	serve("127.0.0.1:8005", &http.Server{IdleTimeout: 2 * time.Second}, prompt)

	// HTTP/2 without TLS.
	streams := listen("127.0.0.1:8006")
	for {
		conn, err := streams.Accept()
		if err != nil {
			panic(err)
		}
		go new(http2.Server).ServeConn(conn, &http2.ServeConnOpts{Handler: http.HandlerFunc(prompt)})
	}
}

func listen(address string) net.Listener {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	return listener
}
