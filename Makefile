# For those who like make: the same commands as ./dev.
.PHONY: setup build chat lint test
setup build chat lint test:
	./dev $@
