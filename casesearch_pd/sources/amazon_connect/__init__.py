"""Amazon Connect Cases: SearchCases and the operations around it, through boto3."""
