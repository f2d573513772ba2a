"""Linear regression, logistic regression, the perceptron and naive Bayes."""
