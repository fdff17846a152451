package stats

import (
	"math"
	"slices"
	"testing"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		samples []float64
		want    float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 100}, 3.5},
	}
	for _, test := range tests {
		before := slices.Clone(test.samples)
		if got := Median(test.samples); got != test.want {
			t.Errorf("median of %v: %v, not %v", test.samples, got, test.want)
		}
		if !slices.Equal(before, test.samples) {
			t.Errorf("the samples were put into another order: %v", test.samples)
		}
	}
}

func TestPercentile(t *testing.T) {
	var hundred []int
	for i := range 100 {
		hundred = append(hundred, 100-i)
	}
	tests := []struct {
		samples []int
		p       float64
		want    int
	}{
		{nil, 50, 0},
		{[]int{8}, 99, 8},
		{[]int{1, 2, 3, 4}, 50, 2},
		{[]int{1, 2, 3, 4}, 51, 3},
		{[]int{1, 2, 3, 4}, 0, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 99.5, 100},
		{hundred, 100, 100},
	}
	for _, test := range tests {
		if got := Percentile(test.samples, test.p); got != test.want {
			t.Errorf("percentile %v of %d samples: %d, not %d", test.p, len(test.samples), got, test.want)
		}
	}
}

func TestGeometricMean(t *testing.T) {
	if got := GeometricMean([]float64{0.5, 2, 8}); math.Abs(got-2) > 1e-9 {
		t.Errorf("mean of a half, 2 and 8: %v, not 2", got)
	}
	if got := GeometricMean(nil); got != 0 {
		t.Errorf("mean of nothing: %v", got)
	}
}
