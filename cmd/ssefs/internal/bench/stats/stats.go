// Package stats sums samples up.
package stats

import (
	"cmp"
	"math"
	"slices"
)

// Median returns the middle of the samples, the mean of both middles of an even number, 0 of none.
func Median(samples []float64) float64 {
	n := len(samples)
	if n == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(samples))
	return (s[(n-1)/2] + s[n/2]) / 2
}

// Percentile returns the smallest sample that at least p hundredths of them do not exceed; nothing of none.
func Percentile[T cmp.Ordered](samples []T, p float64) T {
	n := len(samples)
	if n == 0 {
		var none T
		return none
	}
	s := slices.Sorted(slices.Values(samples))
	rank := int(math.Ceil(p * float64(n) / 100))
	return s[min(max(rank, 1), n)-1]
}

// GeometricMean returns the n-th root of the product of n positive numbers, 0 of none.
func GeometricMean(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range values {
		sum += math.Log(v)
	}
	return math.Exp(sum / float64(len(values)))
}
