"""Test suites of Twisted programs and libraries, on sockd's reactor and on Twisted's."""
