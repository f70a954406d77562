module example/port

go 1.20
