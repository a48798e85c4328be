// Go's net package, on one core.   go_net tcp|udp PORT
package main

import (
	"net"
	"os"
	"runtime"
)

const chunk = 65536

func main() {
	runtime.GOMAXPROCS(1)
	address := "127.0.0.1:" + os.Args[2]
	if os.Args[1] == "udp" {
		echoDatagrams(address)
	} else {
		acceptAll(address)
	}
}

func acceptAll(address string) {
	listener, err := net.Listen("tcp4", address)
	if err != nil {
		panic(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go echo(connection)
	}
}

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, chunk)
	for {
		size, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:size]); err != nil {
			return
		}
	}
}

func echoDatagrams(address string) {
	own, err := net.ResolveUDPAddr("udp4", address)
	if err != nil {
		panic(err)
	}
	port, err := net.ListenUDP("udp4", own)
	if err != nil {
		panic(err)
	}
	buffer := make([]byte, chunk)
	for {
		size, peer, err := port.ReadFromUDPAddrPort(buffer)
		if err == nil {
			port.WriteToUDPAddrPort(buffer[:size], peer)
		}
	}
}
