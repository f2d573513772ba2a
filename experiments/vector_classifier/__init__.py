"""Document classification by all n-grams: naive Bayes, logistic regression, a linear SVM."""
