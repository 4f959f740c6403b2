//go:build !linux

package e2e

import "testing"

// Only Linux keeps programs apart as the tests with noise need it; elsewhere they share.

func goesLast(testing.TB, int) {}

func oneProcessor(testing.TB) []string { return nil }
